package lambda

import "time"

// Code is an authorization code, kept as hex SHA-256 (RFC 6749 §4.1.2). Before it
// is used it lives for about a minute; from then on, as long as the Grant that it
// began, so that a second use is recognised.
type Code struct {
	Hash     string `json:"hash"`
	Account  string `json:"account"`
	ClientID string `json:"clientId"`
	UserID   string `json:"userId"`
	// SessionID is the browser session that it was given in, Session.ID.
	SessionID string `json:"sessionId"`
	// RedirectURI is where the code was sent. A client that named it must name the
	// same when it uses the code.
	RedirectURI   string `json:"redirectUri"`
	RedirectNamed bool   `json:"redirectNamed,omitempty"`
	// Challenge is the S256 code challenge of RFC 7636, empty if the client sent
	// none. One that came as plain is kept in this form too.
	Challenge string `json:"challenge,omitempty"`
	Nonce     string `json:"nonce,omitempty"`
	// AuthTime is when the user logged in, of a client that asked for it.
	AuthTime  time.Time `json:"authTime,omitzero"`
	ExpiresAt time.Time `json:"expiresAt"`
	// GrantID is the Grant that it began, Grant.ID; empty before it is used.
	GrantID string `json:"grantId,omitempty"`
}

// MaxAccessTokens is how many access tokens of one Grant live at once: the newest
// and the one before it, which may be in use while the app refreshes.
const MaxAccessTokens = 2

// Grant is what one login let one app do: the family of all access and refresh
// tokens that follow from one Code. Every secret of it is kept as hex SHA-256.
type Grant struct {
	ID        string `json:"id"` // hex SHA-256 of the grant id, which refresh tokens begin with
	Account   string `json:"account"`
	ClientID  string `json:"clientId"`
	UserID    string `json:"userId"`
	SessionID string `json:"sessionId"` // the browser session that it was given in
	CodeHash  string `json:"codeHash"`
	// RefreshHash is that of the one refresh token that is good now; empty if the
	// app may not refresh.
	RefreshHash string `json:"refreshHash,omitempty"`
	// Access are the hashes of its access tokens, the newest last.
	Access    []string  `json:"access"`
	AuthTime  time.Time `json:"authTime,omitzero"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}
