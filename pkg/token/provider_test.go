package token

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func corp() Provider {
	p := NewProvider("corp")
	p.Issuer, p.Audiences = "https://idp.example.org", []string{"https://tokens.example.org"}
	return p
}

func TestProviderCheck(t *testing.T) {
	good := map[string]func(*Provider){
		"the defaults":         func(*Provider) {},
		"a path":               func(p *Provider) { p.Issuer = "https://idp.example.org/realms/a" },
		"a port":               func(p *Provider) { p.Issuer = "https://idp.example.org:8443" },
		"this machine":         func(p *Provider) { p.Issuer = "http://127.0.0.1:8080" },
		"this machine by name": func(p *Provider) { p.Issuer = "http://localhost:8080/x" },
		"this machine, IPv6":   func(p *Provider) { p.Issuer = "http://[::1]:8080" },
		"any issuer with keys": func(p *Provider) { p.Issuer, p.JWKSURL = "corp idp", "https://keys.example.org/?v=1" },
		"certificates":         func(p *Provider) { p.Issuer, p.Certificates = "corp", [][]byte{{1}} },
		"roles": func(p *Provider) {
			p.RoleClaim, p.RoleMap = "groups", []RoleMapping{{"a", Admin}, {"a", Auditor}, {"b", Admin}}
		},
		"required": func(p *Provider) {
			p.Require = []ClaimValue{{"ref", "a"}, {"ref", "b"}, {"sub", "a"}, {"a", "b=c"}}
		},
		"a client":  func(p *Provider) { p.ClientID = "cli" },
		"no leeway": func(p *Provider) { p.Leeway = 0 },
	}
	for name, change := range good {
		p := corp()
		change(&p)
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	bad := map[string]func(*Provider){
		"the provider is empty":            func(p *Provider) { p.Name = "" },
		"realm of our own accounts":        func(p *Provider) { p.Name = LocalRealm },
		"the issuer is empty":              func(p *Provider) { p.Issuer = "" },
		"invisible characters":             func(p *Provider) { p.Issuer += "\u200b" },
		"no https URL":                     func(p *Provider) { p.Issuer = "http://idp.example.org" },
		"\"http://127.0.0.1.example.org\"": func(p *Provider) { p.Issuer = "http://127.0.0.1.example.org" },
		"\"http://localhost@example.org\"": func(p *Provider) { p.Issuer = "http://localhost@example.org" },
		"\"http://localhost:x@evil\"":      func(p *Provider) { p.Issuer = "http://localhost:x@evil" },
		"\"https://\"":                     func(p *Provider) { p.Issuer = "https://" },
		"\"https://a?b\"":                  func(p *Provider) { p.Issuer = "https://a?b" },
		"\"https://a#b\"":                  func(p *Provider) { p.Issuer = "https://a#b" },
		"\"corp\"":                         func(p *Provider) { p.Issuer = "corp" },
		"from \"ftp://a\"":                 func(p *Provider) { p.JWKSURL = "ftp://a" },
		"no audience":                      func(p *Provider) { p.Audiences = nil },
		"21 audiences":                     func(p *Provider) { p.Audiences = make([]string, 21) },
		"the audience \"\"":                func(p *Provider) { p.Audiences = append(p.Audiences, "") },
		"is the client and the audience":   func(p *Provider) { p.ClientID = p.Audiences[0] },
		"the client id":                    func(p *Provider) { p.ClientID = "a\x00" },
		"in their place":                   func(p *Provider) { p.JWKSURL, p.Certificates = "https://a", [][]byte{{1}} },
		"6 certificates":                   func(p *Provider) { p.Certificates = make([][]byte, 6) },
		"a certificate has 0 bytes":        func(p *Provider) { p.Certificates = [][]byte{{}} },
		"no algorithm":                     func(p *Provider) { p.Algorithms = nil },
		"sign with \"none\"":               func(p *Provider) { p.Algorithms = []Algorithm{"none"} },
		"sign with \"HS256\"":              func(p *Provider) { p.Algorithms = []Algorithm{"HS256"} },
		"RS256 is there twice":             func(p *Provider) { p.Algorithms = []Algorithm{RS256, RS256} },
		"no claim says who":                func(p *Provider) { p.Claim = "" },
		"\"iss\" cannot be the claim":      func(p *Provider) { p.Claim = "iss" },
		"\"aud\" cannot be the claim":      func(p *Provider) { p.RoleClaim = "aud" },
		"a claim and a mapping":            func(p *Provider) { p.RoleClaim = "groups" },
		"both: a claim":                    func(p *Provider) { p.RoleMap = []RoleMapping{{"a", Admin}} },
		"the value \"\" cannot":            func(p *Provider) { p.RoleClaim, p.RoleMap = "groups", []RoleMapping{{"", Admin}} },
		"the role is empty":                func(p *Provider) { p.RoleClaim, p.RoleMap = "groups", []RoleMapping{{"a", ""}} },
		"stands for the role":              func(p *Provider) { p.RoleClaim, p.RoleMap = "g", []RoleMapping{{"a", Admin}, {"a", Admin}} },
		"more than 100":                    func(p *Provider) { p.RoleClaim, p.RoleMap = "g", make([]RoleMapping, 101) },
		"21 required claims":               func(p *Provider) { p.Require = make([]ClaimValue, 21) },
		"the required claim \"\" is":       func(p *Provider) { p.Require = []ClaimValue{{"", "a"}} },
		"\"a\\u200b\" is empty":            func(p *Provider) { p.Require = []ClaimValue{{"a\u200b", "a"}} },
		"\"aud\" is checked anyway":        func(p *Provider) { p.Require = []ClaimValue{{"aud", "a"}} },
		"the value \"\" of the required":   func(p *Provider) { p.Require = []ClaimValue{{"a", ""}} },
		"the value \"\\x00\" of the":       func(p *Provider) { p.Require = []ClaimValue{{"a", "\x00"}} },
		"claim \"a\" is there twice":       func(p *Provider) { p.Require = []ClaimValue{{"a", "b"}, {"a", "b"}} },
		"leeway 6m is not between 0s and":  func(p *Provider) { p.Leeway = 6 * time.Minute },
		"is not between 0s and 5m":         func(p *Provider) { p.Leeway = -time.Second },
	}
	for why, change := range bad {
		p := corp()
		change(&p)
		if err := p.Check(); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want a token.ErrUsage with %s", err, why)
		}
	}
}

// Several values of one claim are alternatives, wherever they stand.
func TestProviderRequired(t *testing.T) {
	p := corp()
	if got := p.Required(); got != nil {
		t.Errorf("%q of one that requires nothing", got)
	}
	p.Require = []ClaimValue{{"ref", "a"}, {"owner", "7"}, {"ref", "b"}}
	if diff := cmp.Diff([]string{"ref", "owner"}, p.Required()); diff != "" {
		t.Error(diff)
	}
	for claim, want := range map[string][]string{"ref": {"a", "b"}, "owner": {"7"}, "REF": nil} {
		if diff := cmp.Diff(want, p.Demanded(claim)); diff != "" {
			t.Errorf("%s: %s", claim, diff)
		}
	}
}

func TestProviderRoles(t *testing.T) {
	p := corp()
	p.RoleMap = []RoleMapping{{"ops", "writer"}, {"ops", "reader"}, {"dev", "reader"}}
	for values, want := range map[string][]Role{"ops dev": {"reader", "writer"}, "dev other": {"reader"}, "OPS": {}, "": {}} {
		if diff := cmp.Diff(want, p.Roles(strings.Fields(values))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", values, diff)
		}
	}
}
