package render_test

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func certificate(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	is := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corp"}, NotBefore: now, NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(nil, is, is, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func fullProvider(t *testing.T) token.Provider {
	p := token.NewProvider("corp")
	p.Issuer, p.Audiences, p.Certificates = "https://id.example.org", []string{"a", "b"}, [][]byte{certificate(t), []byte("junk")}
	p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "cn=x,ou=y", Role: "deploy"}, {From: "\u202edd", Role: token.Admin}}
	p.Require = []token.ClaimValue{{Claim: "owner_id", Value: "7"}, {Claim: "ref", Value: "a=\u202eb"}}
	p.Disabled, p.Unlinked, p.ClientID, p.CreatedAt, p.CreatedBy = true, true, "cli", now, root
	return p
}

func TestProviderInJSON(t *testing.T) {
	p := fullProvider(t)
	der := base64.StdEncoding.EncodeToString(p.Certificates[0])
	o := render.Options{Format: render.JSON}
	want := `{"name":"corp","status":"disabled","issuer":"https://id.example.org","audiences":["a","b"],"jwks_url":null,"certificates":["` + der + `","anVuaw=="],` +
		`"algorithms":["RS256","PS256","ES256","EdDSA"],"claim":"sub","role_claim":"groups","role_map":[{"from":"cn=x,ou=y","role":"deploy"},{"from":"\u202edd","role":"tokenctl:admin"}],` +
		`"require":[{"claim":"owner_id","value":"7"},{"claim":"ref","value":"a=\u202eb"}],"unlinked":true,"client_id":"cli","leeway":"1m","created_at":"2026-11-22T07:00:00Z","created_by":"local/root"}` + "\n"
	if diff := cmp.Diff(want, one(t, o, render.Providers(), p)); diff != "" {
		t.Error(diff)
	}
	want = `{"name":"x","status":"enabled","issuer":null,"audiences":[],"jwks_url":null,"certificates":[],"algorithms":["RS256","PS256","ES256","EdDSA"],` +
		`"claim":"sub","role_claim":null,"role_map":[],"require":[],"unlinked":false,"client_id":null,"leeway":"1m","created_at":null,"created_by":null}` + "\n"
	if diff := cmp.Diff(want, one(t, o, render.Providers(), token.NewProvider("x"))); diff != "" {
		t.Error(diff)
	}
}

// People see whose certificates they are, and nothing of the bytes.
func TestProviderForPeople(t *testing.T) {
	p := fullProvider(t)
	lines := one(t, render.Options{}, render.Providers(), p)
	for _, want := range []string{
		"Keys:         2 certificates\n", `Role map:     "cn=x,ou=y"=deploy "\u202edd"=tokenctl:admin` + "\n", `Required:     "owner_id"="7" "ref"="a=\u202eb"` + "\n",
		fmt.Sprintf("Certificates: CN=corp (sha256 %x); unreadable (sha256 %x)\n", sha256.Sum256(p.Certificates[0]), sha256.Sum256([]byte("junk"))),
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not in\n%s", want, lines)
		}
	}
	if strings.Contains(lines, base64.StdEncoding.EncodeToString(p.Certificates[0])) {
		t.Errorf("the bytes of a certificate are shown:\n%s", lines)
	}
	plain := token.NewProvider("x")
	plain.Certificates = p.Certificates[:1]
	fetched := token.NewProvider("y")
	fetched.JWKSURL = "https://id.example.org/keys"
	want := "NAME  STATUS    ISSUER                  AUDIENCES  KEYS                         UNLINKED\n" +
		"corp  disabled  https://id.example.org  a b        2 certificates               yes\n" +
		"x     enabled   -                       -          1 certificate                no\n" +
		"y     enabled   -                       -          https://id.example.org/keys  no\n" +
		"z     enabled   -                       -          by the issuer                no\n"
	if diff := cmp.Diff(want, stream(t, render.Options{}, render.Providers(), p, plain, fetched, token.NewProvider("z"))); diff != "" {
		t.Error(diff)
	}
}

func TestJWTExplanation(t *testing.T) {
	e := authority.JWTExplanation{
		Provider: "corp", CannotTell: true,
		Findings: []token.Finding{{Check: "form", OK: true, Text: "fine"}, {Check: "audience", Text: "it is \x1b[2Jwrong"}},
	}
	for _, test := range []struct {
		o    render.Options
		want string
	}{
		{render.Options{}, "CHECK     RESULT  FINDING\nform      OK      fine\naudience  FAILED  it is [2Jwrong\n"},
		{render.Options{Format: render.CSV}, "check,ok,text\nform,true,fine\n"},
		{render.Options{Format: render.Name}, "form\naudience\n"},
		{render.Options{Format: render.JSON}, `{"accepted":false,"cannot_tell":true,"provider":"corp","owner":null,"roles":[],"findings":[{"check":"form","ok":true,"text":"fine"},{"check":"audience","ok":false,"text":"it is \u001b[2Jwrong"}]}` + "\n"},
		{render.Options{Format: render.YAML}, "accepted: false\ncannot_tell: true\nprovider: corp\n"},
		{render.Options{JQ: ".findings[1].check"}, "audience\n"},
		{render.Options{Format: "template={{.provider}}"}, "corp\n"},
	} {
		var b strings.Builder
		if err := render.JWTExplanation(t.Context(), &b, test.o, e); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(b.String(), test.want) {
			t.Errorf("%+v: %q", test.o, b.String())
		}
	}
}

func TestIdentitiesOfAccount(t *testing.T) {
	a := token.Account{Owner: root, Kind: token.Person, Identities: []token.LinkedIdentity{
		{ExternalIdentity: token.ExternalIdentity{Issuer: "https://id.example.org", Claim: "sub", Subject: "r"}, Roles: []token.Role{"deploy"}, RolesUntil: now},
		{ExternalIdentity: token.ExternalIdentity{Issuer: "urn:x", Claim: "email", Subject: "r@x"}},
	}}
	got := one(t, render.Options{Format: render.JSON}, render.Accounts(), a)
	if want := `"identities":[{"issuer":"https://id.example.org","claim":"sub","subject":"r","roles":["deploy"],"roles_until":"2026-11-22T07:00:00Z"},{"issuer":"urn:x","claim":"email","subject":"r@x","roles":[],"roles_until":null}]}`; !strings.Contains(got, want) {
		t.Error(got)
	}
	if got := one(t, render.Options{}, render.Accounts(), a); !strings.Contains(got, `Identities:   sub "r" of https://id.example.org; email "r@x" of urn:x`+"\n") {
		t.Error(got)
	}
	csv := stream(t, render.Options{Format: render.CSV}, render.Accounts(), a, token.Account{Owner: root})
	if lines := strings.Split(csv, "\n"); !strings.HasSuffix(lines[0], ",identities") || !strings.Contains(lines[1], `,"[{""issuer"":`) || !strings.HasSuffix(lines[2], ",false,") {
		t.Error(csv)
	}
}

// Nobody has an id who comes with a provider's JWT.
func TestFederatedIdentity(t *testing.T) {
	v := render.Verdict{Valid: true, Identity: token.Identity{Kind: token.Federated, Owner: alice, Provider: "corp", ExpiresAt: now.Add(time.Minute)}}
	want := `{"valid":true,"kind":"federated","id":null,"owner":"ldap/alice","roles":[],"expires_at":"2026-11-22T07:01:00Z"}` + "\n"
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.JSON}, render.Verdicts(), v)); diff != "" {
		t.Error(diff)
	}
	want = "Valid:   yes\nOwner:   ldap/alice\nRoles:   -\nKind:    federated\nExpires: in 1 minute (2026-11-22T07:01:00Z)\n"
	if diff := cmp.Diff(want, one(t, render.Options{}, render.Verdicts(), v)); diff != "" {
		t.Error(diff)
	}
}
