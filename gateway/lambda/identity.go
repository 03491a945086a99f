package lambda

import (
	"encoding/json"
	"time"
)

// Role is one of the permissions that a user's profile can hold
// (user-guide.md, FaaS Permissions), or LPA for platform staff.
type Role string

// The roles.
const (
	RoleLPA        Role = "LPA"
	RoleAdmin      Role = "FaaS-Admin"
	RoleDeveloper  Role = "FaaS-Developer"
	RoleInvocation Role = "FaaS-Invocation"
)

// Valid reports whether r is one of the four roles.
func (r Role) Valid() bool {
	return r == RoleLPA || r == RoleAdmin || r == RoleDeveloper || r == RoleInvocation
}

// Account is a brand. Its id is all digits: public clients send others elsewhere.
type Account struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
}

// MaxAccountLength is the largest number of digits in an account's id.
const MaxAccountLength = 20

// ValidAccount reports whether id has the form of an account's id.
func ValidAccount(id string) bool {
	if id == "" || len(id) > MaxAccountLength {
		return false
	}
	for i := range len(id) {
		if id[i] < '0' || id[i] > '9' {
			return false
		}
	}
	return true
}

// Profile is a named set of roles, so that one user may have several
// (user-guide.md, FaaS Permissions).
type Profile struct {
	Account   string    `json:"account"`
	Name      string    `json:"name"` // unique in the account
	Roles     []Role    `json:"roles"`
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
}

// User is a person or system user of one account.
type User struct {
	ID           string    `json:"id"`
	Account      string    `json:"account"`
	LoginName    string    `json:"loginName"`    // unique in the account
	PasswordHash string    `json:"passwordHash"` // argon2id, PHC string
	Profile      string    `json:"profile,omitempty"`
	Roles        []Role    `json:"roles"` // what the user may do when no Profile is named
	CreatedAt    time.Time `json:"createdAt"`
	// PasswordSetAt is when the password was last reset; zero while it is the first.
	PasswordSetAt time.Time `json:"passwordSetAt,omitzero"`
}

// App is an installed OAuth 2.0 client of one account (contract/oauth2.md §1.5).
type App struct {
	ClientID     string   `json:"client_id"`
	Account      string   `json:"account"`
	ClientName   string   `json:"client_name"`
	DisplayName  string   `json:"display_name,omitempty"`
	Description  string   `json:"description,omitempty"`
	GrantTypes   []string `json:"grant_types"`
	RedirectURIs []string `json:"redirect_uris,omitempty"`
	// ResponseTypes is empty for apps that were installed before it was kept: they
	// may ask for what their grant types need.
	ResponseTypes      []string      `json:"response_types,omitempty"`
	Scope              string        `json:"scope"` // space-separated
	LogoURI            string        `json:"logo_uri,omitempty"`
	EntryURI           string        `json:"entry_uri,omitempty"`
	QuickLaunchEnabled bool          `json:"quick_launch_enabled,omitempty"`
	Capabilities       *Capabilities `json:"capabilities,omitempty"`
	SecretHash         string        `json:"secret_hash"` // hex SHA-256; the secret has 160 random bits or more
	CreatedAt          time.Time     `json:"createdAt"`
}

// Capabilities of an app are kept and shown, and change nothing here.
type Capabilities struct {
	Engagement json.RawMessage `json:"engagement,omitempty"`
	Webhooks   json.RawMessage `json:"webhooks,omitempty"`
}

// SessionKind says where somebody logged in.
type SessionKind string

// The kinds of session. A session that names none is a SessionLogin.
const (
	SessionLogin   SessionKind = "login"   // at the login service; it has a bearer token
	SessionBrowser SessionKind = "browser" // at Sentinel's login page; it has a cookie only
)

// Session is a browser or CLI login. Every secret of it is kept as hex SHA-256.
type Session struct {
	ID         string      `json:"id"` // hex SHA-256 of the session id
	Kind       SessionKind `json:"kind,omitempty"`
	Account    string      `json:"account"`
	UserID     string      `json:"userId"`
	LoginName  string      `json:"loginName"`
	BearerHash string      `json:"bearerHash,omitempty"` // the key of its Token, of a SessionLogin
	CSRFHash   string      `json:"csrfHash,omitempty"`   // of a SessionLogin
	// Request is the hash of the authorize request that a SessionBrowser was begun
	// for, until that is answered: so a client that insists on a login gets one,
	// and no second.
	Request   string    `json:"request,omitempty"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// TokenKind says how an opaque token was got.
type TokenKind string

// The kinds of opaque token.
const (
	TokenLogin  TokenKind = "login"  // by the login service; calls with it are manual
	TokenAccess TokenKind = "access" // by Sentinel's authorization code flow
)

// Token is an opaque bearer token, kept as hex SHA-256 under a lease.
type Token struct {
	Hash      string    `json:"hash"`
	Kind      TokenKind `json:"kind"`
	Account   string    `json:"account"`
	UserID    string    `json:"userId"`
	ClientID  string    `json:"clientId,omitempty"`
	SessionID string    `json:"sessionId,omitempty"` // Session.ID; ending the session ends the token
	GrantID   string    `json:"grantId,omitempty"`   // Grant.ID; ending the grant ends the token
	ExpiresAt time.Time `json:"expiresAt"`
}

// SigningKey signs the JWTs of one region, RS256. Keys overlap: a new one is
// published in the JWKS before it signs, an old one stays there until the last
// token it signed has expired.
type SigningKey struct {
	ID         string    `json:"id"`      // kid
	PrivateKey []byte    `json:"private"` // PKCS #8, DER
	CreatedAt  time.Time `json:"createdAt"`
	SignsFrom  time.Time `json:"signsFrom"`
	SignsUntil time.Time `json:"signsUntil"`
	ExpiresAt  time.Time `json:"expiresAt"` // no token signed with it is valid after
}
