'use strict'
// Calls a gateway through liveperson-functions-client as a brand's program
// would and prints what came of each call as JSON, for the Go test to judge.
//
// usage: liveperson.js '{"accountId", "clientId", "clientSecret", "csds"?, "lambda", "failing", "missing", "event", "failingEvent", "commands", "skill"}'
const { Client } = require('liveperson-functions-client')

const setup = JSON.parse(process.argv[2])

// With csds, the client's own override of the Domain API look-up is used.
const tooling = setup.csds ? { getCsdsEntry: async (account, service) => setup.csds[service] } : undefined

const client = new Client(
  {
    accountId: setup.accountId,
    authStrategy: { clientId: setup.clientId, clientSecret: setup.clientSecret },
    failOnErrorStatusCode: true,
  },
  tooling,
)

async function outcome(promise) {
  try {
    return { value: await promise }
  } catch (error) {
    return { error: error.name, text: String(error.message), cause: deepest(error) }
  }
}

function deepest(error) {
  while (typeof error.cause === 'function' && error.cause()) error = error.cause()
  return String(error.message)
}

const call = (lambdaUuid, payload) =>
  client.invoke({
    lambdaUuid,
    externalSystem: 'e2e',
    body: { headers: [{ key: 'from', value: 'node' }], payload },
  })

const fire = (eventId, payload, skillId) =>
  client.invoke({
    eventId,
    skillId,
    externalSystem: 'e2e',
    body: { headers: [{ key: 'from', value: 'node' }], payload },
  })

async function main() {
  const report = {
    invoke: await outcome(call(setup.lambda, { text: 'grüße' })),
    failing: await outcome(call(setup.failing, {})),
    missing: await outcome(call(setup.missing, {})),
    isImplemented: await outcome(client.isImplemented({ eventId: setup.event, externalSystem: 'e2e' })),
    isNotImplemented: await outcome(client.isImplemented({ eventId: 'nobody_listens', externalSystem: 'e2e' })),
    event: await outcome(fire(setup.event, { text: 'grüße' })),
    failingEvent: await outcome(fire(setup.failingEvent, {})),
    noEvent: await outcome(fire('nobody_listens', {})),
    allSkills: await outcome(fire(setup.commands, {})),
    oneSkill: await outcome(fire(setup.commands, {}, setup.skill)),
    noSkill: await outcome(fire(setup.commands, {}, 'nobody-s')),
    skillIsImplemented: await outcome(client.isImplemented({ eventId: setup.commands, skillId: setup.skill, externalSystem: 'e2e' })),
    skillIsNotImplemented: await outcome(client.isImplemented({ eventId: setup.commands, skillId: 'nobody-s', externalSystem: 'e2e' })),
  }
  process.stdout.write(JSON.stringify(report) + '\n')
}

main()
