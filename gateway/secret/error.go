package secret

// The texts that lambdas meet (contract/javascript-runtime.md §6.3), beside that
// of lambda.MissingSecret.
const (
	textReading  = "Reading Secret %s failed"
	textUpdating = "Updating Secret %s failed"
	textTooLong  = "Provided Secret Value exceeds allowed length of %d"
)
