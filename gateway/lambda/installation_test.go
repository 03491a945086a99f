package lambda_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

// caller and website are the two examples of contract/oauth2.md §1.5.
func caller() *lambda.App {
	return &lambda.App{
		ClientName: "my-faas-caller", Description: "…", GrantTypes: []string{"client_credentials"},
		ResponseTypes: []string{"token"}, Scope: "faas.lambda.invoke",
	}
}

func website() *lambda.App {
	return &lambda.App{
		ClientName: "my-user-caller", GrantTypes: []string{"authorization_code", "refresh_token"},
		RedirectURIs: []string{"http://localhost:3000/callback"}, ResponseTypes: []string{"code"}, Scope: "faas.lambda.invoke",
	}
}

func TestInstallationsThatAreRight(t *testing.T) {
	for name, change := range map[string]func(*lambda.App){
		"the contract's example": func(*lambda.App) {},
		"the longest texts": func(a *lambda.App) {
			a.ClientName, a.DisplayName, a.Description = strings.Repeat("ü", 128), strings.Repeat("d", 128), strings.Repeat("d", 256)
		},
		"a name with a slash": func(a *lambda.App) { a.ClientName = "brand / shop" },
		"no response types":   func(a *lambda.App) { a.ResponseTypes = nil },
		"every response type": func(a *lambda.App) { a.ResponseTypes = []string{"code", "token", "id_token", "id_token token"} },
		"every grant type": func(a *lambda.App) {
			a.GrantTypes = []string{"authorization_code", "refresh_token", "client_credentials"}
		},
		"the user guide's redirect": func(a *lambda.App) { a.RedirectURIs = []string{"http://localhost/callback"} },
		"redirects to this machine": func(a *lambda.App) {
			a.RedirectURIs = []string{"http://127.0.0.1:8080/", "http://[::1]/x", "http://LocalHost:1/"}
		},
		"redirects elsewhere": func(a *lambda.App) {
			a.RedirectURIs = []string{"https://brand.example.com/a/b?c=d&e=%20", "https://10.0.0.1:8443/"}
		},
		"the longest redirect": func(a *lambda.App) { a.RedirectURIs = []string{"https://example.com/" + strings.Repeat("x", 108)} },
		"no scope":             func(a *lambda.App) { a.Scope = "" },
		"several scopes":       func(a *lambda.App) { a.Scope = "faas.lambda.invoke msg.consumer" },
		"links": func(a *lambda.App) {
			a.LogoURI, a.EntryURI = "https://example.com/logo.png", "http://intranet/"+strings.Repeat("x", 1000)
		},
		"capabilities": func(a *lambda.App) {
			a.Capabilities = &lambda.Capabilities{Engagement: json.RawMessage(`{"x":[1]}`), Webhooks: json.RawMessage(`{}`)}
		},
		"capabilities that say nothing":       func(a *lambda.App) { a.Capabilities = &lambda.Capabilities{} },
		"a description of several paragraphs": func(a *lambda.App) { a.Description = "a\n\nb\tc" },
	} {
		t.Run(name, func(t *testing.T) {
			a := website()
			change(a)
			require.NoError(t, a.Validate())
		})
	}
	require.NoError(t, caller().Validate())
}

func TestInstallationsThatAreRefused(t *testing.T) {
	redirect := func(uri string) func(*lambda.App) {
		return func(a *lambda.App) { a.RedirectURIs = append(a.RedirectURIs, uri) }
	}
	for name, c := range map[string]struct {
		change      func(*lambda.App)
		field, says string
	}{
		"no name":                                {func(a *lambda.App) { a.ClientName = "" }, "client_name", "client_name is missing: give 1 to 128 characters"},
		"a name too long":                        {func(a *lambda.App) { a.ClientName = strings.Repeat("n", 129) }, "client_name", "129 characters: the limit is 128"},
		"a name of two lines":                    {func(a *lambda.App) { a.ClientName = "a\rb" }, "client_name", "line break"},
		"a display name too long":                {func(a *lambda.App) { a.DisplayName = strings.Repeat("n", 129) }, "display_name", "129 characters: the limit is 128"},
		"a description too long":                 {func(a *lambda.App) { a.Description = strings.Repeat("n", 257) }, "description", "257 characters: the limit is 256"},
		"a description with a NUL":               {func(a *lambda.App) { a.Description = "a\x00b" }, "description", "control character"},
		"no grant":                               {func(a *lambda.App) { a.GrantTypes = nil }, "grant_types", "grant_types is missing: name one or more of authorization_code, refresh_token, client_credentials"},
		"a grant that is none":                   {func(a *lambda.App) { a.GrantTypes = []string{"password"} }, "grant_types", `"password", which is none of`},
		"an empty grant":                         {func(a *lambda.App) { a.GrantTypes = []string{""} }, "grant_types", `"", which is none of`},
		"a grant twice":                          {func(a *lambda.App) { a.GrantTypes = append(a.GrantTypes, "refresh_token") }, "grant_types", "refresh_token twice"},
		"refresh tokens of nothing":              {func(a *lambda.App) { a.GrantTypes = []string{"refresh_token", "client_credentials"} }, "grant_types", "without authorization_code"},
		"a response type that is none":           {func(a *lambda.App) { a.ResponseTypes = []string{"code token"} }, "response_types", `"code token"`},
		"a response type twice":                  {func(a *lambda.App) { a.ResponseTypes = []string{"code", "code"} }, "response_types", "twice"},
		"codes without the response type":        {func(a *lambda.App) { a.ResponseTypes = []string{"token"} }, "response_types", "lacks code"},
		"codes without a redirect":               {func(a *lambda.App) { a.RedirectURIs = nil }, "redirect_uris", "redirect_uris is missing: authorization_code needs one or more"},
		"a redirect too long":                    {redirect("https://example.com/" + strings.Repeat("x", 109)), "redirect_uris", "129 characters: the limit is 128"},
		"a redirect twice":                       {redirect("http://localhost:3000/callback"), "redirect_uris", "twice"},
		"an empty redirect":                      {redirect(""), "redirect_uris", "not absolute"},
		"a redirect without scheme":              {redirect("localhost/callback"), "redirect_uris", "not absolute: begin it with https://"},
		"a redirect without scheme but slashes":  {redirect("//example.com/callback"), "redirect_uris", "not absolute"},
		"a redirect that is a path":              {redirect("/callback"), "redirect_uris", "not absolute"},
		"a redirect without host":                {redirect("https:///callback"), "redirect_uris", "no host"},
		"a redirect of a port alone":             {redirect("https://:443/"), "redirect_uris", "no host"},
		"a redirect without slashes":             {redirect("https:example.com"), "redirect_uris", "no host"},
		"a redirect with a fragment":             {redirect("https://example.com/#x"), "redirect_uris", "fragment"},
		"a redirect with an empty fragment":      {redirect("https://example.com/#"), "redirect_uris", "fragment"},
		"a redirect that runs a script":          {redirect("javascript:alert(1)"), "redirect_uris", "not absolute"},
		"a redirect of an app's scheme":          {redirect("myapp://callback"), "redirect_uris", "not absolute"},
		"a redirect in clear":                    {redirect("http://example.com/callback"), "redirect_uris", "in clear"},
		"a redirect in clear to a look-alike":    {redirect("http://localhost.example.com/"), "redirect_uris", "in clear"},
		"a redirect to everywhere in clear":      {redirect("http://0.0.0.0/"), "redirect_uris", "in clear"},
		"a redirect with a user":                 {redirect("https://localhost@example.com/"), "redirect_uris", "user name"},
		"a redirect with a backslash":            {redirect(`https://example.com\@localhost/`), "redirect_uris", "a character that no URI has, at byte 19"},
		"a redirect with a blank":                {redirect("https://example.com/a b"), "redirect_uris", "%XX"},
		"a redirect with a line break":           {redirect("https://example.com/\r\nSet-Cookie: x"), "redirect_uris", "%XX"},
		"a redirect with a letter of a language": {redirect("https://exämple.com/"), "redirect_uris", "%XX"},
		"a redirect with a wildcard":             {redirect("https://*.example.com/"), "redirect_uris", "wildcard"},
		"a redirect with a broken escape":        {redirect("https://example.com/%zz"), "redirect_uris", "is no URI: invalid URL escape"},
		"a redirect with a port of 0":            {redirect("https://example.com:0/"), "redirect_uris", "1…65535"},
		"a redirect with a port too large":       {redirect("https://example.com:65536/"), "redirect_uris", "1…65535"},
		"a redirect with an empty port":          {redirect("https://example.com:/"), "redirect_uris", "1…65535"},
		"a redirect with half an address":        {redirect("http://[::1/"), "redirect_uris", "is no URI"},
		"too many redirects": {func(a *lambda.App) {
			for range 32 {
				a.RedirectURIs = append(a.RedirectURIs, "https://example.com/"+strings.Repeat("x", len(a.RedirectURIs)))
			}
		}, "redirect_uris", "33 entries: the limit is 32"},
		"a scope too long":             {func(a *lambda.App) { a.Scope = strings.Repeat("s", 129) }, "scope", "129 characters: the limit is 128"},
		"a scope with two blanks":      {func(a *lambda.App) { a.Scope = "a  b" }, "scope", "one blank between"},
		"a scope that ends in a blank": {func(a *lambda.App) { a.Scope = "a " }, "scope", "one blank between"},
		"a scope with a tab":           {func(a *lambda.App) { a.Scope = "a\tb" }, "scope", "a character that no scope has"},
		"a scope with a quote":         {func(a *lambda.App) { a.Scope = `a"b` }, "scope", "a character that no scope has"},
		"a logo that runs a script":    {func(a *lambda.App) { a.LogoURI = "javascript:alert(1)" }, "logo_uri", "not absolute"},
		"a logo too long":              {func(a *lambda.App) { a.LogoURI = "https://example.com/" + strings.Repeat("x", 1005) }, "logo_uri", "1025 characters: the limit is 1024"},
		"an entry that is data":        {func(a *lambda.App) { a.EntryURI = "data:text/html,x" }, "entry_uri", "not absolute"},
		"capabilities too large": {func(a *lambda.App) {
			a.Capabilities = &lambda.Capabilities{Webhooks: json.RawMessage(`{"x":"` + strings.Repeat("x", 4096) + `"}`)}
		}, "capabilities", "capabilities.webhooks has 4104 bytes: the limit is 4096"},
		"capabilities that are no object": {func(a *lambda.App) {
			a.Capabilities = &lambda.Capabilities{Engagement: json.RawMessage(`[1]`)}
		}, "capabilities", "capabilities.engagement must be an object"},
	} {
		t.Run(name, func(t *testing.T) {
			a := website()
			c.change(a)
			requireFault(t, a.Validate(), c.field, c.says)
		})
	}
}
