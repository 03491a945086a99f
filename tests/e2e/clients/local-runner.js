'use strict'
// Runs functions with the local runner of liveperson-functions-cli, as `lpf invoke
// <name> --local` does (lib/controller/invoke.controller.js), one after the other.
// That command itself needs most of a second to read its 400 packages. Prints what
// the runner printed, a JSON line for each function.
//
//   node local-runner.js <liveperson-functions-cli> <function>…    in a project folder

const { join } = require('node:path')

const [cli, ...names] = process.argv.slice(2)
const { FaasDebugger } = require(join(cli, 'lib', 'shared', 'faas-debugger.js'))

process.setMaxListeners(0) // it adds some for each function
const print = console.log

async function main() {
  for (const name of names) {
    const folder = join(process.cwd(), 'functions', name)
    const printed = []
    console.log = (text) => printed.push(text)
    await new FaasDebugger({
      indexPath: join(folder, 'index.js'), configPath: join(folder, 'config.json'), lambdaToInvoke: name,
    }).runLocalInvocation()
    print(JSON.stringify({ name, printed: printed.join('\n') }))
  }
}

main()
