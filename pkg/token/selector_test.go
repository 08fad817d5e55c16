package token_test

import (
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// chosen is a token that was made at second 100, expires at second 1000 and
// was last used at second 500.
func chosen() token.Token {
	return token.Token{
		Record: token.Record{
			Kind: token.Refresh, Owner: alice, Name: "ci-deploy", Connection: "default", Roles: []token.Role{"reader", "writer"},
			CreatedAt: at(100), ExpiresAt: at(1000),
		},
		Status: token.Active, LastUsedAt: at(500),
	}
}

func TestSelectorMatch(t *testing.T) {
	bob := token.Owner{Realm: "local", Name: "bob"}
	for _, c := range []struct {
		what   string
		s      token.Selector
		change func(*token.Token)
		want   bool
	}{
		{"nothing demanded", token.Selector{}, nil, true},
		{"kind", token.Selector{Kind: token.Refresh}, nil, true},
		{"another kind", token.Selector{Kind: token.User}, nil, false},
		{"owner", token.Selector{Owner: alice}, nil, true},
		{"another owner", token.Selector{Owner: bob}, nil, false},
		{"the same name in another realm", token.Selector{Owner: token.Owner{Realm: "corp", Name: "alice"}}, nil, false},
		{"realm", token.Selector{Realm: "local"}, nil, true},
		{"another realm", token.Selector{Realm: "loc"}, nil, false},
		{"connection", token.Selector{Connection: "default"}, nil, true},
		{"another connection", token.Selector{Connection: "other"}, nil, false},
		{"service", token.Selector{Service: "imap"}, nil, false},
		{"its service", token.Selector{Service: "imap"}, func(t *token.Token) { t.Service = "imap" }, true},
		{"role", token.Selector{Role: "writer"}, nil, true},
		{"another role", token.Selector{Role: "write"}, nil, false},
		{"admin is no role that it has", token.Selector{Role: "other"}, func(t *token.Token) { t.Roles = []token.Role{token.Admin} }, false},
		{"two demands, one met", token.Selector{Kind: token.Refresh, Realm: "corp"}, nil, false},

		{"name", token.Selector{Name: "ci-deploy"}, nil, true},
		{"glob", token.Selector{Name: "ci-*"}, nil, true},
		{"glob for any", token.Selector{Name: "*"}, nil, true},
		{"glob for any, no name", token.Selector{Name: "*"}, func(t *token.Token) { t.Name = "" }, true},
		{"glob for some, no name", token.Selector{Name: "?*"}, func(t *token.Token) { t.Name = "" }, false},
		{"part of the name", token.Selector{Name: "ci"}, nil, false},
		{"garbled", token.Selector{Name: "[ci"}, nil, false},

		{"suspended", token.Selector{}, status(token.Suspended), true},
		{"expired", token.Selector{}, status(token.Expired), false},
		{"revoked", token.Selector{}, status(token.Revoked), false},
		{"expired, ended too", token.Selector{Ended: true}, status(token.Expired), true},
		{"revoked, ended too", token.Selector{Ended: true}, status(token.Revoked), true},
		{"active, ended too", token.Selector{Ended: true}, nil, true},
		{"expired, asked for", token.Selector{Status: token.Expired}, status(token.Expired), true},
		{"active, suspended asked for", token.Selector{Status: token.Suspended, Ended: true}, nil, false},

		{"made at the beginning", token.Selector{CreatedAfter: at(100)}, nil, true},
		{"made before the beginning", token.Selector{CreatedAfter: at(101)}, nil, false},
		{"made at the end", token.Selector{CreatedBefore: at(100)}, nil, false},
		{"made before the end", token.Selector{CreatedBefore: at(101)}, nil, true},

		{"expires at the time", token.Selector{ExpiresBefore: at(1000)}, nil, false},
		{"expires before it", token.Selector{ExpiresBefore: at(1001)}, nil, true},
		{"never expires", token.Selector{ExpiresBefore: at(1e9)}, func(t *token.Token) { t.ExpiresAt = time.Time{} }, false},

		{"used", token.Selector{NeverUsed: true}, nil, false},
		{"never used", token.Selector{NeverUsed: true}, neverUsed, true},
		{"used at the time", token.Selector{UnusedSince: at(500)}, nil, false},
		{"used before it", token.Selector{UnusedSince: at(501)}, nil, true},
		{"never used, made at the time", token.Selector{UnusedSince: at(100)}, neverUsed, false},
		{"never used, made before it", token.Selector{UnusedSince: at(101)}, neverUsed, true},
		{"both about use", token.Selector{UnusedSince: at(501), NeverUsed: true}, nil, false},
	} {
		tok := chosen()
		if c.change != nil {
			c.change(&tok)
		}
		if got := c.s.Match(&tok); got != c.want {
			t.Errorf("%s: %t", c.what, got)
		}
	}
}

func status(s token.Status) func(*token.Token) { return func(t *token.Token) { t.Status = s } }

func neverUsed(t *token.Token) { t.LastUsedAt = time.Time{} }

func TestSelectorCheck(t *testing.T) {
	for _, c := range []struct {
		what string
		s    token.Selector
		ok   bool
	}{
		{"nothing", token.Selector{}, true},
		{"glob", token.Selector{Name: "[a-c]?*"}, true},
		{"range", token.Selector{CreatedAfter: at(0), CreatedBefore: at(1)}, true},
		{"garbled glob", token.Selector{Name: "["}, false},
		{"garbled further on", token.Selector{Name: "abc[x"}, false},
		{"nothing escaped", token.Selector{Name: `a\`}, false},
		{"negation as in a shell", token.Selector{Name: "ci[!x]"}, false},
		{"negation", token.Selector{Name: "ci[^x]"}, true},
		{"empty range", token.Selector{CreatedAfter: at(1), CreatedBefore: at(1)}, false},
		{"range turned round", token.Selector{CreatedAfter: at(1), CreatedBefore: at(0)}, false},
	} {
		if err := c.s.Check(); (err == nil) != c.ok || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// Whoever says nothing but an owner, or that ended ones count too, means all.
func TestSelectorNarrows(t *testing.T) {
	for _, wide := range []token.Selector{{}, {Owner: alice}, {Ended: true}, {Owner: alice, Ended: true}} {
		if wide.Narrows() {
			t.Errorf("%+v narrows", wide)
		}
	}
	for _, narrow := range []token.Selector{
		{Kind: token.User}, {Realm: "corp"}, {Service: "imap"}, {Connection: "default"}, {Role: "reader"}, {Status: token.Active}, {Name: "*"},
		{CreatedAfter: at(0)}, {CreatedBefore: at(0)}, {ExpiresBefore: at(0)}, {UnusedSince: at(0)}, {NeverUsed: true},
	} {
		if !narrow.Narrows() {
			t.Errorf("%+v does not narrow", narrow)
		}
		if want := narrow.NeverUsed || !narrow.UnusedSince.IsZero(); narrow.NeedsUse() != want {
			t.Errorf("%+v needs the last use: %t", narrow, !want)
		}
	}
}

// Only patterns that mean what they seem to pass the check, and a garbled one
// matches nothing.
func FuzzSelectorName(f *testing.F) {
	for _, seed := range []string{"ci-*", "[", "[a", "a[", `\`, "[]a]", "[-]", "[x-]", "**", "?", "[^a]"} {
		f.Add(seed, "ci-deploy")
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		s, tok := token.Selector{Name: pattern}, chosen()
		tok.Name = name
		_, garbled := path.Match(pattern, "")
		if err := s.Check(); (err != nil) != (garbled != nil || strings.Contains(pattern, "[!")) || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("the pattern %q: %v", pattern, err)
		}
		if garbled != nil && s.Match(&tok) {
			t.Errorf("the garbled pattern %q matches %q", pattern, name)
		}
	})
}
