package idp

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/oidc"
)

// forServer is the configuration for a provider that others wrote.
func forServer(s *oidc.Server) token.Provider {
	p := token.NewProvider("corp")
	p.Issuer, p.Audiences, p.ClientID = s.Issuer, []string{oidc.Audience}, oidc.Public
	p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "ops", Role: "writer"}}
	return p
}

func TestRealProvider(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	s := setOf(t, time.Now, forServer(server))
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			server.Sign(alg)
			v := accepted(t, s, server.AccessToken(oidc.Audience))
			if v.Subject != oidc.Machine || v.Provider != "corp" || len(v.Roles) != 1 || v.Roles[0] != "writer" {
				t.Errorf("%+v", v)
			}
		})
	}
}

func TestRealProviderRefused(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	good := server.AccessToken(oidc.Audience)
	with := func(change func(*token.Provider)) *Set {
		p := forServer(server)
		change(&p)
		return setOf(t, time.Now, p)
	}
	s := with(func(*token.Provider) {})
	accepted(t, s, good)
	refuses(t, s, server.AccessToken(oidc.Opaque), "it is no JWT")
	refuses(t, with(func(p *token.Provider) { p.Audiences = []string{"https://crm.example.org"} }), good, "is not ours")
	refuses(t, with(func(p *token.Provider) { p.Issuer += "/"; p.JWKSURL = server.Issuer + "/jwks" }), good, "that of no provider")
	refuses(t, with(func(p *token.Provider) { p.Algorithms = []token.Algorithm{"ES256"} }), good, "signed with \"RS256\"")
	refuses(t, with(func(p *token.Provider) { p.Claim = "email" }), good, "its claim \"email\"")
	later := func() time.Time { return time.Now().Add(11*time.Minute + time.Second) }
	refuses(t, setOf(t, later, forServer(server)), good, "it expired at")
	accepted(t, with(func(p *token.Provider) { p.JWKSURL = server.Issuer + "/jwks" }), good)
}

// The provider changes its keys, is flooded with forged JWTs in its name, and
// goes down.
func TestRealProviderThroughTheDay(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	server.Sign("ES256")
	s := setOf(t, time.Now, forServer(server))
	old := server.AccessToken(oidc.Audience)
	accepted(t, s, old)
	server.Rotate()
	good := server.AccessToken(oidc.Audience)
	accepted(t, s, good)
	refuses(t, s, old, "none of the provider's")

	forger := newIssuer(t)
	for n := range 1000 {
		forged := forger.sign(t, object{"kid": strings.Repeat("k", n%250+1)}, object{"iss": server.Issuer, "aud": oidc.Audience})
		if _, err := s.Judge(context.Background(), forged); !errors.Is(err, token.ErrRefused) {
			t.Fatalf("a forged one: %v", err)
		}
	}
	if n := server.Asked("/jwks"); n > 3 {
		t.Errorf("the keys were fetched %d times", n)
	}

	server.Stop()
	accepted(t, s, good)
	refuses(t, s, good[:len(good)-8]+"AAAAAAAA", "its signature is wrong")
	late := setOf(t, time.Now, forServer(server))
	cannot(t, late, good, "refused") // by the operating system: nobody listens
	// What is refused, is also when nobody can be asked.
	refuses(t, late, forger.sign(t, nil, object{"iss": server.Issuer, "aud": "x"}), "its audience")
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	m, err := Discover(t.Context(), Options{}, server.Issuer)
	must(t, err)
	want := Metadata{
		Issuer: server.Issuer, JWKSURL: server.Issuer + "/jwks", AuthorizationURL: server.Issuer + "/auth", TokenURL: server.Issuer + "/token",
		DeviceURL: server.Issuer + "/device/auth", Algorithms: []string{"RS256", "PS256", "ES256", "EdDSA"}, NamesItself: true,
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, wrong := range []string{server.Issuer + "/", "", "corp", "http://idp.example.org", server.Issuer + "?x", server.Issuer + "#x"} {
		if m, err := Discover(t.Context(), Options{}, wrong); !errors.Is(err, token.ErrUsage) || m.Issuer != "" {
			t.Errorf("%q: %v, %v, want a token.ErrUsage", wrong, m, err)
		}
	}
	if _, err := Discover(t.Context(), Options{}, server.Issuer+"/elsewhere"); !errors.Is(err, token.ErrCannotTell) || !strings.Contains(err.Error(), "404") {
		t.Errorf("%v, want a token.ErrCannotTell with the status", err)
	}
}
