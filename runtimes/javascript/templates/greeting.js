/**
 * Greeting: the smallest lambda there is.
 *
 * A lambda is a function named `lambda`. It gets an input and a callback, and ends
 * when it calls back: with null and its result, or with an Error when it failed.
 */
function lambda(input, callback) {
  // Any value that JSON can hold may be a result: a text, a number, an object, a list.
  callback(null, 'Hello World');
}
