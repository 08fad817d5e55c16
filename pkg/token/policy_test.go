package token_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestLifetimeFor(t *testing.T) {
	limited := token.DefaultPolicy()
	limited.UserTokenLifetime, limited.ServiceTokenLifetime = 30*token.Day, 90*token.Day
	for _, c := range []struct {
		what   string
		policy token.Policy
		kind   token.Kind
		asked  time.Duration
		want   time.Duration // negative: refused
	}{
		{"user, nothing asked", token.DefaultPolicy(), token.User, 0, 0},
		{"user, any lifetime", token.DefaultPolicy(), token.User, token.MaxLifetime, token.MaxLifetime},
		{"user, limited, nothing asked", limited, token.User, 0, 30 * token.Day},
		{"user, limited, the limit", limited, token.User, 30 * token.Day, 30 * token.Day},
		{"user, limited, less", limited, token.User, time.Hour, time.Hour},
		{"user, limited, more", limited, token.User, 30*token.Day + time.Second, -1},
		{"service, nothing asked", token.DefaultPolicy(), token.Service, 0, 0},
		{"service, limited, nothing asked", limited, token.Service, 0, 90 * token.Day},
		{"service, limited, more", limited, token.Service, 91 * token.Day, -1},
		{"refresh, nothing asked", token.DefaultPolicy(), token.Refresh, 0, 7 * token.Day},
		{"refresh, the most", token.DefaultPolicy(), token.Refresh, 365 * token.Day, 365 * token.Day},
		{"refresh, more", token.DefaultPolicy(), token.Refresh, 365*token.Day + time.Second, -1},
		{"negative", token.DefaultPolicy(), token.User, -1, -1},
		{"least", token.DefaultPolicy(), token.User, math.MinInt64, -1},
		{"under a second", token.DefaultPolicy(), token.User, time.Second - 1, -1},
		{"over everything", token.DefaultPolicy(), token.User, token.MaxLifetime + time.Second, -1},
		{"most of all", token.DefaultPolicy(), token.User, math.MaxInt64, -1},
	} {
		got, err := c.policy.LifetimeFor(c.kind, c.asked)
		if refused := c.want < 0; refused != (err != nil) || !refused && got != c.want || refused && (!errors.Is(err, token.ErrUsage) || got != 0) {
			t.Errorf("%s: %s, %v", c.what, got, err)
		}
	}
}

func TestPolicySet(t *testing.T) {
	for _, c := range []struct {
		name, value string
		ok          bool
	}{
		{"user_token_lifetime", "30d", true},
		{"user_token_lifetime", "unlimited", true},
		{"service_token_lifetime", "unlimited", true},
		{"refresh_token_lifetime", "1d", true},
		{"refresh_token_max_lifetime", "7d", true},
		{"access_token_max_lifetime", "1h", true},
		{"retention", "36500d", true},
		{"refresh_tokens", "everyone", true},
		{"refresh_tokens", "administrators", true},
		{"issuer", "https://tokens.example.org/a", true},

		{"user_token_lifetime", "0", false},
		{"user_token_lifetime", "0s", false},
		{"user_token_lifetime", "", false},
		{"user_token_lifetime", "-1d", false},
		{"user_token_lifetime", "36501d", false},
		{"user_token_lifetime", "Unlimited", false},
		{"refresh_token_lifetime", "unlimited", false}, // a refresh token always ends
		{"refresh_token_max_lifetime", "unlimited", false},
		{"access_token_max_lifetime", "unlimited", false},
		{"retention", "unlimited", false},
		{"refresh_tokens", "nobody", false},
		{"refresh_tokens", "", false},
		{"issuer", "", false},
		{"issuer", "tokens.example.org", false},
		{"issuer", "https://tokens.example.org?x", false},
		{"issuer", "https://tokens.example.org#x", false},
		{"issuer", "https://" + strings.Repeat("x", 1024), false},
		{"revision", "7", false},
		{"", "7d", false},
	} {
		p, before := token.DefaultPolicy(), token.DefaultPolicy()
		err := p.Set(c.name, c.value)
		if (err == nil) != c.ok || err != nil && (!errors.Is(err, token.ErrUsage) || p != before) {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
		for _, f := range token.PolicyFields() {
			switch {
			case c.ok && f.Name == c.name && f.Get(&p) != c.value:
				t.Errorf("%s is %s after it was set to %s", f.Name, f.Get(&p), c.value)
			case f.Name != c.name && f.Get(&p) != f.Get(&before):
				t.Errorf("setting %s has changed %s", c.name, f.Name)
			}
		}
	}
}

// Every setting of the policy has a name, a text, and takes the text that it
// gives.
func TestPolicyFields(t *testing.T) {
	p := token.DefaultPolicy()
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	last := ""
	for _, f := range token.PolicyFields() {
		if f.Name <= last || f.Doc == "" {
			t.Errorf("%q is out of order or without a word", f.Name)
		}
		last = f.Name
		if err := f.Set(&p, f.Get(&p)); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
	if p != token.DefaultPolicy() {
		t.Errorf("%+v", p)
	}
}

func TestPolicyCheck(t *testing.T) {
	p := token.DefaultPolicy()
	p.RefreshTokenMaxLifetime = p.RefreshTokenLifetime
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	p.RefreshTokenMaxLifetime -= time.Second
	if err := p.Check(); !errors.Is(err, token.ErrUsage) {
		t.Errorf("a default over the maximum: %v", err)
	}
	p = token.DefaultPolicy()
	p.Retention = token.MinRetention
	if err := p.Check(); err != nil {
		t.Error(err)
	}
	p.Retention -= time.Second
	if err := p.Check(); !errors.Is(err, token.ErrUsage) {
		t.Errorf("a retention that erases the trail: %v", err)
	}
}

func TestConnectionCheck(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func(*token.Connection)
		ok     bool
	}{
		{"as it is", func(*token.Connection) {}, true},
		{"web address", entity("https://api.example.org:8443/a/b?c=d%20e"), true},
		{"one character", entity("x:y"), true},
		{"scheme of all characters", entity("a+b-c.9:x"), true},
		{"an address of IPv6", entity("https://[2001:db8::1]/"), true},
		{"1024 bytes", entity("urn:" + strings.Repeat("x", 1020)), true},
		{"no entity id", entity(""), false},
		{"relative", entity("/api"), false},
		{"no scheme", entity("api.example.org"), false},
		{"no scheme, colon", entity(":x"), false},
		{"nothing after the scheme", entity("urn:"), false},
		{"scheme with a digit first", entity("1urn:x"), false},
		{"fragment", entity("https://api.example.org#x"), false},
		{"empty fragment", entity("https://api.example.org#"), false},
		{"space", entity("urn:a b"), false},
		{"line break", entity("urn:a\n"), false},
		{"line break first", entity("\nurn:a"), false},
		{"quote", entity(`urn:a"b`), false},
		{"not ASCII", entity("urn:é"), false},
		{"not UTF-8", entity("urn:\xff"), false},
		{"1025 bytes", entity("urn:" + strings.Repeat("x", 1021)), false},

		{"one second", func(c *token.Connection) { c.AccessLifetime = time.Second }, true},
		{"longest", func(c *token.Connection) { c.AccessLifetime = token.MaxLifetime }, true},
		{"no lifetime", func(c *token.Connection) { c.AccessLifetime = 0 }, false},
		{"negative lifetime", func(c *token.Connection) { c.AccessLifetime = math.MinInt64 }, false},
		{"longer than longest", func(c *token.Connection) { c.AccessLifetime = token.MaxLifetime + 1 }, false},

		{"claim", claim("roles"), true},
		{"claim that is a URI", claim("https://example.org/roles"), true},
		{"claim of 256 bytes", claim(strings.Repeat("x", 256)), true},
		{"no claim", claim(""), false},
		{"claim of 257 bytes", claim(strings.Repeat("x", 257)), false},
		{"claim that is no UTF-8", claim("r\xff"), false},
		{"iss", claim("iss"), false}, {"sub", claim("sub"), false}, {"aud", claim("aud"), false}, {"exp", claim("exp"), false},
		{"nbf", claim("nbf"), false}, {"iat", claim("iat"), false}, {"jti", claim("jti"), false}, {"client_id", claim("client_id"), false},
		{"scope", claim("scope"), false}, {"tid", claim("tid"), false}, {"cnf", claim("cnf"), false}, {"act", claim("act"), false},
		{"may_act", claim("may_act"), false}, {"auth_time", claim("auth_time"), false}, {"acr", claim("acr"), false}, {"amr", claim("amr"), false},

		{"RS256", func(c *token.Connection) { c.Algorithm = token.RS256 }, true},
		{"none", func(c *token.Connection) { c.Algorithm = "none" }, false},
		{"symmetric", func(c *token.Connection) { c.Algorithm = "HS256" }, false},
		{"client_secret_basic", func(c *token.Connection) { c.AuthMethod = token.AuthBasic }, true},
		{"client_secret_post", func(c *token.Connection) { c.AuthMethod = token.AuthPost }, true},
		{"client_secret_jwt", func(c *token.Connection) { c.AuthMethod = "client_secret_jwt" }, false},
		{"no authentication method", func(c *token.Connection) { c.AuthMethod = "" }, false},
		{"name like an id", func(c *token.Connection) { c.Name = "0123456789abcdef" }, false},
		{"no name", func(c *token.Connection) { c.Name = "" }, false},
	} {
		conn := token.NewConnection("default")
		c.change(&conn)
		if err := conn.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func entity(id string) func(*token.Connection) {
	return func(c *token.Connection) { c.EntityID = id }
}

func claim(name string) func(*token.Connection) {
	return func(c *token.Connection) { c.RoleClaim = name }
}

// An entity id that passes stands in a header, a URL and a JWT as it is.
func FuzzEntityID(f *testing.F) {
	for _, seed := range []string{"urn:x:y", "https://api.example.org/a?b", "x:", "urn:a\n", "urn:a#b", "urn:%00", "//x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, id string) {
		conn := token.NewConnection("default")
		conn.EntityID = id
		if conn.Check() != nil {
			return
		}
		scheme, rest, found := strings.Cut(id, ":")
		if !found || scheme == "" || rest == "" || len(id) > 1024 {
			t.Errorf("%q is no absolute URI", id)
		}
		for i := range len(id) {
			if c := id[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("#\"<>\\^`{|}", c) >= 0 {
				t.Errorf("%q holds %q", id, c)
			}
		}
		p := token.DefaultPolicy()
		if err := p.Set("issuer", id); (err == nil) == strings.Contains(id, "?") {
			t.Errorf("the issuer %q: %v", id, err)
		}
	})
}

func FuzzPolicySet(f *testing.F) {
	for _, field := range token.PolicyFields() {
		f.Add(field.Name, "7d")
		f.Add(field.Name, "unlimited")
	}
	f.Add("issuer", "urn:x")
	f.Add("refresh_tokens", "everyone")
	f.Fuzz(func(t *testing.T, name, value string) {
		p := token.DefaultPolicy()
		if err := p.Set(name, value); err != nil {
			if !errors.Is(err, token.ErrUsage) || p != token.DefaultPolicy() {
				t.Errorf("%s=%s: %v", name, value, err)
			}
			return
		}
		// What was taken is written in a form that is taken for the same.
		again := p
		for _, field := range token.PolicyFields() {
			if err := field.Set(&again, field.Get(&p)); err != nil {
				t.Errorf("%s=%s: %v", field.Name, field.Get(&p), err)
			}
		}
		if again != p {
			t.Errorf("%+v is written as %+v", p, again)
		}
	})
}
