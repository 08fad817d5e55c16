package render_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestJQ(t *testing.T) {
	t.Setenv("TOKENCTL_TEST_SECRET", "in the environment")
	a, b := id1.String(), id2.String()
	for _, test := range []struct {
		o    render.Options
		want string
	}{
		{render.Options{JQ: ".[].id"}, a + "\n" + b + "\n"},
		{render.Options{Format: render.JSON, JQ: "map(.kind)"}, `["user","refresh"]` + "\n"},
		{render.Options{Format: render.JSON, JQ: `length, .[0].roles, .[0].name, "x\u202ey"`}, "2\n[]\nnull\nx\u202ey\n"},
		{render.Options{Format: render.JSONL, JQ: ".kind"}, "user\nrefresh\n"},
		{render.Options{Format: render.JSONL, JQ: `select(.kind=="user")|{id,"a\u009bb":1}`}, `{"a\u009bb":1,"id":"` + a + `"}` + "\n"},
		{render.Options{Format: render.JSONL, JQ: "empty"}, ""},
		{render.Options{Format: render.JSONL, JQ: ".id, halt"}, a + "\n" + b + "\n"},
		{render.Options{JQ: `env, ($ENV|length)`}, "{}\n0\n"},
	} {
		if diff := cmp.Diff(test.want, stream(t, test.o, render.Tokens(), userToken(), refreshToken())); diff != "" {
			t.Errorf("%+v: %s", test.o, diff)
		}
	}
	if got := one(t, render.Options{JQ: ".expires_in"}, render.AccessTokens(), accessToken()); got != "3600\n" {
		t.Errorf("number of one value: %q", got)
	}
}

func TestWrongExpressionsAreUsage(t *testing.T) {
	for _, o := range []render.Options{
		{JQ: ".["}, {JQ: "nosuchfunction"}, {Format: render.JSONL, JQ: "$x"}, {JQ: `include "f"; .`}, {JQ: "input"},
		{Format: "template={{.id"}, {Format: "template={{nosuch .}}"},
	} {
		expression := o.JQ + strings.TrimPrefix(string(o.Format), "template=")
		if o.JQ != "" {
			expression = o.JQ
		}
		err := render.Check(o, render.Issued())
		if o.JQ == "input" && err == nil { // it is at run time that there is none
			err = render.One(t.Context(), io.Discard, o, render.Tokens(), userToken())
		}
		if err == nil {
			t.Errorf("%+v passes", o)
			continue
		}
		wantUsage(t, err, strings.Trim(strings.ReplaceAll(expression, `"`, `\"`), `"`))
	}
	for _, f := range []render.Format{"wide", "yaml", "csv", "name", "raw", "template={{.id}}"} {
		wantUsage(t, render.Check(render.Options{Format: f, JQ: "."}, render.Tokens()), string(f))
	}
	err := render.One(t.Context(), io.Discard, render.Options{JQ: ".name|keys"}, render.Tokens(), refreshToken())
	wantUsage(t, err, "ci-deploy") // jq shows what did not fit
	err = render.One(t.Context(), io.Discard, render.Options{Format: "template={{.nosuch}}"}, render.Tokens(), refreshToken())
	wantUsage(t, err, "nosuch")
}

func TestErrorsQuoteNoSecret(t *testing.T) {
	for _, o := range []render.Options{
		{JQ: ".pass_code|keys"}, {JQ: ".pass_code|error"}, {JQ: ".pass_code|halt_error"}, {JQ: ".pass_code|tonumber"}, {JQ: "error"},
		{Format: "template={{index .pass_code .pass_code}}"}, {Format: "template={{slice .pass_code 99}}"}, {Format: "template={{call .pass_code}}"},
	} {
		var b strings.Builder
		err := render.One(t.Context(), &b, o, render.Issued(), issued(token.User))
		wantUsage(t, err, "")
		if err != nil && strings.Contains(err.Error()+b.String(), theSecret) {
			t.Errorf("%+v: the secret is in %q or %q", o, err, b.String())
		}
	}
}

func TestJQThatDoesNotEnd(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("enough"))
	defer cancel()
	err := render.One(ctx, io.Discard, render.Options{JQ: "last(repeat(1))"}, render.Tokens(), userToken())
	if err == nil || err.Error() != "enough" {
		t.Errorf("error %v", err)
	}
	// One that writes without end stops when nobody reads any more.
	err = render.One(t.Context(), &fullWriter{room: 1 << 20}, render.Options{JQ: "repeat(.id)"}, render.Tokens(), userToken())
	if !errors.Is(err, errFull) {
		t.Errorf("error %v", err)
	}
}

func TestTemplate(t *testing.T) {
	id := id2.String()
	for text, want := range map[string]string{
		"{{.id}}":                           id + "\n",
		"{{.id}}\n":                         id + "\n",
		"{{.service}}":                      "\n", // null is nothing
		"{{.name}}{{\"\\t\"}}{{.owner}}":    "ci-deploy\tldap/alice\n",
		`{{join .roles ","}}`:               "UserObserver,UserEditor\n",
		`{{json .roles}}`:                   `["UserObserver","UserEditor"]` + "\n",
		`{{range .roles}}{{.}};{{end}}`:     "UserObserver;UserEditor;\n",
		`{{if .service}}s{{else}}no{{end}}`: "no\n",
	} {
		if diff := cmp.Diff(want, one(t, render.Options{Format: render.Format("template=" + text)}, render.Tokens(), refreshToken())); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
	if got := one(t, render.Options{Format: "template={{if gt .expires_in 60}}{{.expires_in}}{{end}}"}, render.AccessTokens(), accessToken()); got != "3600\n" {
		t.Errorf("number in a template: %q", got)
	}
	if got := stream(t, render.Options{Format: "template={{.kind}}"}, render.Tokens(), userToken(), refreshToken()); got != "user\nrefresh\n" {
		t.Errorf("list: %q", got)
	}
}

func TestYAMLIsTheSameValueAsJSON(t *testing.T) {
	var tokens []token.Token
	for _, text := range nastyTexts {
		v := refreshToken()
		v.Name, v.RevokedReason, v.Owner.Name, v.Roles = text, text, text, []token.Role{token.Role(text), "x"}
		tokens = append(tokens, v)
	}
	var fromYAML any
	text := stream(t, render.Options{Format: render.YAML}, render.Tokens(), tokens...)
	if err := yaml.Unmarshal([]byte(text), &fromYAML); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(decodeJSON(t, stream(t, render.Options{Format: render.JSON}, render.Tokens(), tokens...)), fromYAML); diff != "" {
		t.Error(diff)
	}
	v := userToken()
	v.Name, v.RevokedReason = "yes", "12:30"
	want := "id: " + id1.String() + `
kind: user
name: "yes"
owner: ldap/alice
service: null
connection: null
roles: []
status: active
created_at: "2026-11-22T06:00:00Z"
created_by: ldap/alice
expires_at: null
last_used_at: null
last_used_from: null
suspended_until: null
revoked_at: null
revoked_reason: "12:30"
`
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.YAML}, render.Tokens(), v)); diff != "" {
		t.Error(diff)
	}
}
