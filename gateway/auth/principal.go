package auth

// Kind says how a Principal's token was got.
type Kind uint8

// The kinds of principal.
const (
	Login    Kind = iota + 1 // by the login service; its calls of lambdas are manual
	Access                   // by Sentinel, on behalf of a user
	App                      // by Sentinel, client credentials: an app on its own behalf
	Operator                 // by no token at all: it came in by the operator's own socket
)

// Principal is an authenticated caller. It is shared between requests and must
// not be changed.
type Principal struct {
	Account     string
	UserID      string // empty for an App and an Operator
	LoginName   string // empty for an App and an Operator
	ClientID    string // empty for a Login and an Operator
	Kind        Kind
	Permissions Permission
	Scopes      []string // of an App's token
}

// May reports whether the principal has every permission of p.
func (p *Principal) May(needed Permission) bool {
	return p.Permissions&needed == needed
}

// NewOperator is whoever runs the gateway, at work on an account. What makes
// somebody one is the socket that they came in by: nothing in a request can.
func NewOperator(account string) *Principal {
	return &Principal{Account: account, Kind: Operator, Permissions: Everything | Operate}
}

// Caller names the principal in logs and keys: the user's id, or the app's.
func (p *Principal) Caller() string {
	switch {
	case p.Kind == Operator:
		return "operator"
	case p.UserID != "":
		return p.UserID
	}
	return p.ClientID
}
