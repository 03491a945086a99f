package lambda_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sluice-faas/sluice/gateway/lambda"
)

func valid() *lambda.Lambda {
	return &lambda.Lambda{
		Account: "1", ID: "i", Name: "hello_1", Description: "says hello", Runtime: "javascript", Version: 1,
		Code: "function lambda(i, cb) {}", Environment: []lambda.Pair{{Key: "KEY_1", Value: "v"}},
	}
}

func TestValidate(t *testing.T) {
	long := func(n int) string { return strings.Repeat("ü", n) } // two bytes each: limits are in characters
	pairs := func(n int) []lambda.Pair {
		p := make([]lambda.Pair, n)
		for i := range p {
			p[i] = lambda.Pair{Key: fmt.Sprint("K", i), Value: "v"}
		}
		return p
	}
	env := func(key, value string) func(*lambda.Lambda) {
		return func(l *lambda.Lambda) { l.Environment = []lambda.Pair{{Key: key, Value: value}} }
	}
	skills := func(ids ...string) func(*lambda.Lambda) {
		return func(l *lambda.Lambda) { l.EventID, l.Skills = "conversational_command", ids }
	}
	fifty := make([]string, 50)
	for i := range fifty {
		fifty[i] = fmt.Sprint(i)
	}
	const name, description, event, code, environment = "name", "description", "eventId", "implementation.code", "implementation.environmentVariables"
	for text, c := range map[string]struct {
		change func(*lambda.Lambda)
		field  string // at fault; empty when the lambda is valid
	}{
		"an ordinary lambda is valid":                         {func(*lambda.Lambda) {}, ""},
		"a lambda without environment is valid":               {func(l *lambda.Lambda) { l.Environment = nil }, ""},
		"a name may have 50 characters":                       {func(l *lambda.Lambda) { l.Name = strings.Repeat("a", 50) }, ""},
		"a name of 51 characters is refused":                  {func(l *lambda.Lambda) { l.Name = strings.Repeat("a", 51) }, name},
		"an empty name is refused":                            {func(l *lambda.Lambda) { l.Name = "" }, name},
		"a name with a blank is refused":                      {func(l *lambda.Lambda) { l.Name = "a b" }, name},
		"a name with a slash is refused":                      {func(l *lambda.Lambda) { l.Name = "a/b" }, name},
		"a name with a line break at its end is refused":      {func(l *lambda.Lambda) { l.Name = "a\n" }, name},
		"a name with letters beyond ASCII is refused":         {func(l *lambda.Lambda) { l.Name = "ü" }, name},
		"a description may have 200 characters":               {func(l *lambda.Lambda) { l.Description = long(200) }, ""},
		"a description of 201 characters is refused":          {func(l *lambda.Lambda) { l.Description = long(201) }, description},
		"a blank description is refused":                      {func(l *lambda.Lambda) { l.Description = " \n" }, description},
		"a description of several lines is valid":             {func(l *lambda.Lambda) { l.Description = "a\n\tb\r\n" }, ""},
		"a description with a NUL is refused":                 {func(l *lambda.Lambda) { l.Description = "a\x00" }, description},
		"an event id may have 60 characters":                  {func(l *lambda.Lambda) { l.EventID = long(60) }, ""},
		"an event id of 61 characters is refused":             {func(l *lambda.Lambda) { l.EventID = long(61) }, event},
		"code may have 100 000 characters":                    {func(l *lambda.Lambda) { l.Code = long(100_000) }, ""},
		"code of 100 001 characters is refused":               {func(l *lambda.Lambda) { l.Code = long(100_001) }, code},
		"blank code is refused":                               {func(l *lambda.Lambda) { l.Code = " \n" }, code},
		"code that is not UTF-8 is refused":                   {func(l *lambda.Lambda) { l.Code = "x\xff" }, code},
		"100 dependencies are valid":                          {func(l *lambda.Lambda) { l.Dependencies = pairs(100) }, ""},
		"101 dependencies are refused":                        {func(l *lambda.Lambda) { l.Dependencies = pairs(101) }, "implementation.dependencies"},
		"a dependency may have 214 characters":                {func(l *lambda.Lambda) { l.Dependencies = []lambda.Pair{{Key: long(214), Value: long(214)}} }, ""},
		"a dependency of 215 characters is refused":           {func(l *lambda.Lambda) { l.Dependencies = []lambda.Pair{{Key: long(215)}} }, "implementation.dependencies"},
		"a dependency's version of 215 characters is refused": {func(l *lambda.Lambda) { l.Dependencies = []lambda.Pair{{Value: long(215)}} }, "implementation.dependencies"},
		"100 variables are valid":                             {func(l *lambda.Lambda) { l.Environment = pairs(100) }, ""},
		"101 variables are refused":                           {func(l *lambda.Lambda) { l.Environment = pairs(101) }, environment},
		"a variable may have an empty value":                  {env("A", ""), ""},
		"a variable may have 200 characters":                  {env(strings.Repeat("A", 200), long(200)), ""},
		"a variable's name of 201 characters is refused":      {env(strings.Repeat("A", 201), ""), environment},
		"a variable's value of 201 characters is refused":     {env("A", long(201)), environment},
		"a variable without a name is refused":                {env("", "v"), environment},
		"a variable that starts with a digit is refused":      {env("1A", ""), environment},
		"a variable with an equals sign is refused":           {env("A=B", ""), environment},
		"a variable's value with a NUL is refused":            {env("A", "\x00"), environment},
		"a variable given twice is refused":                   {func(l *lambda.Lambda) { l.Environment = []lambda.Pair{{Key: "A"}, {Key: "A"}} }, environment},
		"names that differ in case are two":                   {func(l *lambda.Lambda) { l.Environment = []lambda.Pair{{Key: "A"}, {Key: "a"}} }, ""},
		"a reserved variable is refused":                      {env("NODE_OPTIONS", ""), environment},
		"a reserved variable in lower case is refused":        {env("http_proxy", ""), environment},
		"a variable of the plugin's is refused":               {env("PLUGIN_UNIX_SOCKET_DIR", ""), environment},
		"a variable of the gateway's is refused":              {env("SLUICE_RUNTIME", ""), environment},
		"50 skills are valid":                                 {skills(fifty...), ""},
		"51 skills are refused":                               {skills(append(fifty, "x")...), "skills"},
		"a skill may have 50 letters, digits, - and _":        {skills("Sales_1-" + strings.Repeat("z", 42)), ""},
		"a skill of 51 characters is refused":                 {skills(strings.Repeat("z", 51)), "skills"},
		"an empty skill is refused":                           {skills(""), "skills"},
		"a skill with a slash is refused":                     {skills("a/b"), "skills"},
		"a skill with letters beyond ASCII is refused":        {skills("ü"), "skills"},
		"a skill with a line break at its end is refused":     {skills("a\n"), "skills"},
		"a skill given twice is refused":                      {skills("1", "2", "1"), "skills"},
		"skills that differ in case are two":                  {skills("a", "A"), ""},
		"skills without an event are refused":                 {func(l *lambda.Lambda) { l.Skills = []string{"1"} }, "skills"},
	} {
		t.Run(text, func(t *testing.T) {
			l := valid()
			c.change(l)
			err := l.Validate(lambda.DefaultLimits())
			if c.field == "" {
				require.NoError(t, err)
				return
			}
			e := lambda.As(err)
			require.NotNil(t, e, "accepted")
			require.Equal(t, lambda.KindInvalid, e.Kind)
			require.Equal(t, lambda.CodeBadInput, e.Code)
			require.Equal(t, c.field, e.Field)
		})
	}
	t.Run("a reserved variable is refused in the platform's words", func(t *testing.T) {
		l := valid()
		env("BRAND_ID", "")(l)
		require.EqualError(t, l.Validate(lambda.DefaultLimits()), lambda.TextReservedName)
	})
	t.Run("every name that the contract reserves is", func(t *testing.T) {
		for _, name := range strings.Fields(`BRAND_ID LAMBDA_UUID DOMAIN DC HTTPS_PROXY HTTP_PROXY NO_PROXY VAULT_K8S_MOUNT VAULT_DOMAIN
			VAULT_SERVICE_ENV VAULT_LAMBDA_ROLE WATCHDOG_VERSION NODE_ENV CONTEXT_SERVICE_ENVIRONMENT PATH NODE_OPTIONS NODE_PATH NODE_EXTRA_CA_CERTS`) {
			require.True(t, lambda.ReservedName(name), name)
		}
		require.False(t, lambda.ReservedName("MY_DOMAIN"))
	})
}

func TestSnapshot(t *testing.T) {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	base := valid()
	digest := base.Snapshot(at, "dev").Digest
	t.Run("a version holds what runs", func(t *testing.T) {
		v := base.Snapshot(at, "dev")
		require.Equal(t, lambda.Version{
			Account: "1", LambdaID: "i", Version: 1, Runtime: "javascript", Code: base.Code, Environment: base.Environment,
			Digest: v.Digest, CreatedAt: at, CreatedBy: "dev",
		}, v)
		require.Regexp(t, "^[0-9a-f]{64}$", v.Digest)
	})
	t.Run("the digest is the same for the same text, whoever asks and whatever it is called", func(t *testing.T) {
		l := valid()
		l.Account, l.Name, l.Description, l.UpdatedBy = "2", "other", "other", "other"
		require.Equal(t, digest, l.Snapshot(at.Add(time.Hour), "other").Digest)
	})
	t.Run("the digest is the one that stored versions have", func(t *testing.T) {
		require.Equal(t, "9e5a8a8f733db9d134c35915b2ec7fa800960f10e97a1558e53f88c5f58e3fff", digest)
	})
	seen := map[string]string{digest: "unchanged"}
	for text, change := range map[string]func(*lambda.Lambda){
		"another lambda":       func(l *lambda.Lambda) { l.ID = "j" },
		"another version":      func(l *lambda.Lambda) { l.Version = 2 },
		"another runtime":      func(l *lambda.Lambda) { l.Runtime = "x" },
		"other code":           func(l *lambda.Lambda) { l.Code += " " },
		"a dependency":         func(l *lambda.Lambda) { l.Dependencies = []lambda.Pair{{Key: "KEY_1", Value: "v"}} },
		"no environment":       func(l *lambda.Lambda) { l.Environment = nil },
		"another value":        func(l *lambda.Lambda) { l.Environment = []lambda.Pair{{Key: "KEY_1", Value: "w"}} },
		"a boundary elsewhere": func(l *lambda.Lambda) { l.Environment = []lambda.Pair{{Key: "KEY_", Value: "1v"}} },
	} {
		l := valid()
		change(l)
		d := l.Snapshot(at, "dev").Digest
		require.Empty(t, seen[d], "%s has the digest of %s", text, seen[d])
		seen[d] = text
	}
}

func TestRole(t *testing.T) {
	for _, r := range []lambda.Role{lambda.RoleLPA, lambda.RoleAdmin, lambda.RoleDeveloper, lambda.RoleInvocation} {
		require.True(t, r.Valid())
	}
	for _, r := range []lambda.Role{"", "lpa", "FaaS-Owner"} {
		require.False(t, r.Valid())
	}
}

func TestError(t *testing.T) {
	cause := errors.New("cause")
	e := &lambda.Error{Kind: lambda.KindUnavailable, Message: "text", Err: cause}
	wrapped := fmt.Errorf("while doing: %w", e)
	require.Same(t, e, lambda.As(wrapped))
	require.ErrorIs(t, wrapped, cause)
	require.EqualError(t, wrapped, "while doing: text: cause")
	require.True(t, lambda.Is(wrapped, lambda.KindUnavailable))
	require.False(t, lambda.Is(wrapped, lambda.KindInternal))
	require.Nil(t, lambda.As(cause))
	require.False(t, lambda.Is(cause, lambda.KindInternal), "a foreign error has no kind")
	require.False(t, lambda.Is(nil, lambda.KindInternal))
	require.Equal(t, lambda.KindInvalid, lambda.Invalid("f", "%d", 1).Kind)
	require.Equal(t, "f", lambda.Invalid("f", "x").Field)
	require.Equal(t, lambda.KindNotFound, lambda.NotFound("c", "x").Kind)
	require.Equal(t, lambda.KindConflict, lambda.Conflict("c", "x").Kind)
}
