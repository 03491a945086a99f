// Has calls answer twice, and for those that were answered before: by the callbacks that they were given.
const callbacks = []

function lambda(input, callback) {
  const { name } = input.payload
  callbacks.push(callback)
  // Its own answer, then another one by its callback and by those of all calls that were answered before.
  setTimeout(() => {
    callback(null, name)
    for (const other of callbacks.slice(0, callbacks.indexOf(callback) + 1)) other(null, 'swapped')
  }, 20 * Math.random())
}
