package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var background = context.Background()

func local(name string) token.Owner { return token.Owner{Realm: token.LocalRealm, Name: name} }

var root = authority.Caller{Owner: local("root"), Via: "uid 0", FileOwner: true}

// api is a server whose every connection is root's.
type api struct {
	*testing.T
	*authority.Local
	srv *httptest.Server
}

func newAPI(t *testing.T) *api {
	l := newLocal(time.Now)
	return &api{t, l, newServer(t, l, &root)}
}

// reply is an answer with its JSON body.
type reply struct {
	*http.Response
	text []byte
	body map[string]any
}

// ask sends a request; of the headers every second is a value.
func (a *api) ask(method, path, body string, headers ...string) reply {
	a.Helper()
	r, err := http.NewRequest(method, a.srv.URL+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := a.srv.Client().Do(r)
	if err != nil {
		a.Fatal(err)
	}
	defer resp.Body.Close()
	got := reply{Response: resp}
	if got.text, err = io.ReadAll(resp.Body); err != nil {
		a.Fatal(err)
	}
	json.Unmarshal(got.text, &got.body) // not every body is JSON
	return got
}

// wants sees to the status of an answer, and of an error to its code.
func (a *api) wants(got reply, status int, code string) {
	a.Helper()
	if got.StatusCode != status || code != "" && got.body["code"] != code {
		a.Errorf("%s %s: status %d %s, want %d %s", got.Request.Method, got.Request.URL, got.StatusCode, got.text, status, code)
	}
	if kind := got.Header.Get("Content-Type"); status >= 400 && kind != "application/problem+json" {
		a.Errorf("%s %s: the error is of type %q", got.Request.Method, got.Request.URL, kind)
	}
}

func TestWhatIsNotARoute(t *testing.T) {
	a := newAPI(t)
	for _, path := range []string{"/api/v1", "/api/v1/", "/api/v1/nothing", "/api/v2/tokens", "/api/v1/accounts/local/", "/api/v1/tokens/a/b/c"} {
		a.wants(a.ask("GET", path, ""), 404, "not_found")
	}
	for path, allow := range map[string]string{
		"/api/v1/tokens": "GET, HEAD, POST", "/api/v1/tokens:verify": "POST", "/api/v1/policy": "GET, HEAD, PATCH",
		"/api/v1/accounts/local/a": "DELETE, GET, HEAD, PUT", "/api/openapi.yaml": "GET, HEAD",
	} {
		got := a.ask("OPTIONS", path, "")
		a.wants(got, 405, "usage")
		if got.Header.Get("Allow") != allow {
			t.Errorf("%s allows %q, want %q", path, got.Header.Get("Allow"), allow)
		}
	}
}

func TestBodies(t *testing.T) {
	a := newAPI(t)
	deep := strings.Repeat("[", 33) + strings.Repeat("]", 33)
	for what, c := range map[string]struct {
		body   string
		status int
	}{
		"unknown field":        {`{"kind":"user","colour":"red"}`, 400},
		"field twice":          {`{"kind":"refresh","kind":"user"}`, 400},
		"field in upper case":  {`{"Kind":"user"}`, 400},
		"data behind":          {`{"kind":"user"}{}`, 400},
		"half":                 {`{"kind":"us`, 400},
		"an array":             {`[]`, 400},
		"nested too deep":      {`{"kind":"user","roles":` + deep + `}`, 400},
		"no UTF-8":             {"{\"kind\":\"refresh\",\"name\":\"\xff\"}", 400},
		"nothing":              {``, 400},
		"a kind of its own":    {`{"kind":"robot"}`, 400},
		"an access token":      {`{"kind":"access"}`, 400},
		"a lifetime of zero":   {`{"kind":"user","lifetime":"0s"}`, 400},
		"a negative lifetime":  {`{"kind":"user","lifetime":"-1d"}`, 400},
		"a lifetime in number": {`{"kind":"user","lifetime":7}`, 400},
		"64 KiB and more":      {`{"kind":"user","name":"` + strings.Repeat("x", 65<<10) + `"}`, 413},
	} {
		t.Run(what, func(t *testing.T) {
			got := a.ask("POST", "/api/v1/tokens", c.body)
			a.wants(got, c.status, "usage")
		})
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset"} {
		a.wants(a.ask("POST", "/api/v1/tokens", `{"kind":"user"}`, "Content-Type", kind), 415, "usage")
	}
	a.wants(a.ask("POST", "/api/v1/tokens", `{"kind":"user"}`, "Content-Type", "application/json; charset=utf-8"), 201, "")
}

func TestParameters(t *testing.T) {
	a := newAPI(t)
	for _, query := range []string{
		"colour=red", "kind=user&kind=user", "kind=", "kind=access", "limit=0", "limit=1001", "limit=x", "never_used=1", "owner=a&all_owners=true",
		"created_after=yesterday", "created_after=0001-01-01", "after=x", "name=%5B", "realm=a%20b",
	} {
		a.wants(a.ask("GET", "/api/v1/tokens?"+query, ""), 400, "usage")
	}
	a.wants(a.ask("GET", "/api/v1/tokens?created_after=2026-01-31&expires_before=2027-01-31T00:00:00Z&owner=root", ""), 200, "")
	a.wants(a.ask("GET", "/api/v1/audit?last=0", ""), 400, "usage")
	a.wants(a.ask("POST", "/api/v1/tokens:revoke?dry_run=true", `{"selector":{"kind":"user"}}`), 400, "usage")
}

// A secret that stands where a name belongs is not shown again.
func TestProblemsShowNoSecret(t *testing.T) {
	a := newAPI(t)
	made := a.ask("POST", "/api/v1/tokens", `{"kind":"refresh"}`)
	a.wants(made, 201, "")
	text := made.body["refresh_token"].(string)
	for _, got := range []reply{
		a.ask("GET", "/api/v1/tokens/"+text, ""), a.ask("GET", "/api/v1/tokens?name=a&realm="+text+"!", ""),
		a.ask("POST", "/api/v1/tokens", `{"kind":"`+text+`"}`), a.ask("POST", "/api/v1/tokens", `{"`+strings.ToLower(text)+`":1,"`+text+`":1}`),
	} {
		if a.wants(got, 400, "usage"); bytes.Contains(got.text, []byte(text)) {
			t.Errorf("the secret is shown: %s", got.text)
		}
	}
}

func TestIdempotencyKey(t *testing.T) {
	a := newAPI(t)
	const key = "0123456789abcdefghij-_"
	post := func(body, key string) reply { return a.ask("POST", "/api/v1/tokens", body, "Idempotency-Key", key) }
	for _, bad := range []string{"short", key[1:], strings.Repeat("x", 256), key + " x", key + "é"} {
		a.wants(post(`{"kind":"user"}`, bad), 400, "usage")
	}
	first, again := post(`{"kind":"user"}`, key), post(`{"kind":"user"}`, key)
	a.wants(first, 201, "")
	a.wants(again, 201, "")
	if first.body["pass_code"] != again.body["pass_code"] || first.body["id"] != again.body["id"] {
		t.Error("the same request has two answers")
	}
	a.wants(post(`{"kind":"user" }`, key), 409, "conflict")
	a.wants(a.ask("POST", "/api/v1/tokens/"+first.body["id"].(string)+"/rotate", `{"kind":"user"}`, "Idempotency-Key", key), 400, "usage")
	if n := len(a.ask("GET", "/api/v1/tokens?all_owners=true", "").body["tokens"].([]any)); n != 1 {
		t.Errorf("there are %d tokens", n)
	}
}

func TestPages(t *testing.T) {
	a := newAPI(t)
	s := a.As(root)
	for n := range 7 {
		if _, err := s.Generate(background, token.Spec{Kind: token.Refresh}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddAccount(background, token.Account{Owner: local(fmt.Sprintf("a%d", n))}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddService(background, token.NewService(fmt.Sprintf("s%d", n))); err != nil {
			t.Fatal(err)
		}
	}
	for path, c := range map[string]struct {
		field, key string
		n          int
	}{
		"/tokens": {"tokens", "id", 7}, "/accounts": {"accounts", "owner", 8}, "/connections": {"connections", "name", 2}, "/services": {"services", "name", 7},
		"/audit": {"entries", "seq", len(collect(t, s.ListAudit(background, audit.Filter{})))},
	} {
		var lines []string
		got := a.ask("GET", "/api/v1"+path, "", "Accept", "application/jsonl")
		a.wants(got, 200, "")
		for scan := bufio.NewScanner(bytes.NewReader(got.text)); scan.Scan(); {
			var item map[string]any
			if err := json.Unmarshal(scan.Bytes(), &item); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprint(item[c.key]))
		}
		for limit := 1; limit <= c.n+1; limit++ {
			var paged []string
			after := ""
			for {
				got := a.ask("GET", fmt.Sprintf("/api/v1%s?limit=%d%s", path, limit, after), "")
				a.wants(got, 200, "")
				items := got.body[c.field].([]any)
				if len(items) > limit {
					t.Fatalf("%s: a page has %d items", path, len(items))
				}
				for _, item := range items {
					paged = append(paged, fmt.Sprint(item.(map[string]any)[c.key]))
				}
				if got.body["next"] == nil {
					break
				}
				after = "&after=" + url.QueryEscape(got.body["next"].(string))
			}
			if fmt.Sprint(paged) != fmt.Sprint(lines) || len(paged) != c.n {
				t.Errorf("%s in pages of %d is %v, as lines %v", path, limit, paged, lines)
			}
		}
	}
	got := a.ask("GET", "/api/v1/tokens?limit=2", "", "Accept", "application/jsonl")
	if bytes.Count(got.text, []byte("\n")) != 2 {
		t.Errorf("two lines are %s", got.text)
	}
}

func collect[T any](t *testing.T, seq iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for v, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func TestChangesOfOneToken(t *testing.T) {
	a := newAPI(t)
	made := a.ask("POST", "/api/v1/tokens", `{"kind":"refresh","name":"ci"}`)
	a.wants(made, 201, "")
	path := "/api/v1/tokens/" + made.body["id"].(string)
	status := func() any { return a.ask("GET", path, "").body["status"] }
	a.wants(a.ask("POST", path+"/suspend", `{"until":"2999-01-01T00:00:00Z"}`), 204, "")
	if status() != "suspended" {
		t.Errorf("the token is %v", status())
	}
	a.wants(a.ask("POST", path+"/suspend", `{"revision":1}`), 409, "conflict")
	a.wants(a.ask("POST", path+"/resume", ""), 204, "")
	if status() != "active" {
		t.Errorf("the token is %v", status())
	}
	a.wants(a.ask("POST", path+"/take-back", `{"revision":3}`), 409, "conflict")
	a.wants(a.ask("DELETE", path+"?revision=1", ""), 409, "conflict")
	a.wants(a.ask("POST", path+"/revoke", `{"reason":"laptop lost"}`), 204, "")
	if got := a.ask("GET", path, "").body; got["status"] != "revoked" || got["revoked_reason"] != "laptop lost" || got["revoked_by"] != "local/root" {
		t.Errorf("the token is %v", got)
	}
}

func TestRevokeChosen(t *testing.T) {
	a := newAPI(t)
	for _, name := range []string{"ci-1", "ci-2", "other"} {
		a.wants(a.ask("POST", "/api/v1/tokens", `{"kind":"refresh","name":"`+name+`"}`), 201, "")
	}
	live := func() int { return len(a.ask("GET", "/api/v1/tokens", "").body["tokens"].([]any)) }
	for _, body := range []string{
		`{}`, `{"dry_run":true,"tokens":[]}`, `{"tokens":[],"secret":"x"}`, `{"selector":{"colour":"red"}}`, `{"selector":{"name":""}}`, `{"tokens":[{}]}`,
	} {
		a.wants(a.ask("POST", "/api/v1/tokens:revoke", body), 400, "usage")
	}
	a.wants(a.ask("POST", "/api/v1/tokens:revoke", `{"selector":{"all_owners":true}}`), 409, "unsafe")
	for _, c := range []struct {
		dry  string
		left int
	}{{`,"dry_run":true`, 3}, {"", 1}} {
		got := a.ask("POST", "/api/v1/tokens:revoke", `{"selector":{"name":"ci-*"},"reason":"x"`+c.dry+`}`)
		a.wants(got, 200, "")
		if n := len(got.body["tokens"].([]any)); n != 2 || live() != c.left {
			t.Errorf("%d are chosen, %d are left", n, live())
		}
	}
}

// Having a secret is the right to end its token, and nothing else.
func TestStranger(t *testing.T) {
	a := newAPI(t)
	made := a.ask("POST", "/api/v1/tokens", `{"kind":"refresh"}`)
	text := made.body["refresh_token"].(string)
	a.srv = newServer(t, a.Local, nil)
	for _, r := range httpapi.Routes() {
		method, path, _ := strings.Cut(r, " ")
		switch path {
		case "/api/v1/tokens:verify", "/api/v1/tokens:exchange", "/api/v1/login-providers":
			continue
		}
		got := a.ask(method, path, "")
		a.wants(got, 401, "refused")
		if len(got.Header.Values("WWW-Authenticate")) != 2 {
			t.Errorf("%s asks for %q", r, got.Header.Values("WWW-Authenticate"))
		}
	}
	a.wants(a.ask("POST", "/api/v1/tokens:revoke", `{"tokens":[]}`), 401, "refused")
	a.wants(a.ask("POST", "/api/v1/tokens:revoke", `{"secret":"`+text+`"}`, "Authorization", "Bearer x"), 401, "refused")
	if got := a.ask("POST", "/api/v1/tokens:verify", `{"credential":"`+text+`"}`); got.body["valid"] != true {
		t.Errorf("the verdict is %s", got.text)
	}
	a.wants(a.ask("POST", "/api/v1/tokens:revoke", `{"secret":"`+text+`","reason":"found"}`), 200, "")
	for _, credential := range []string{text, "nonsense", ""} {
		got := a.ask("POST", "/api/v1/tokens:verify", `{"credential":"`+credential+`"}`)
		if got.StatusCode != 200 || string(got.text) != "{\"valid\":false}\n" {
			t.Errorf("the verdict is %d %s", got.StatusCode, got.text)
		}
	}
}

// Names of owners may hold what paths are made of.
func TestNamesInPaths(t *testing.T) {
	a := newAPI(t)
	c := newClient(t, a.srv, httpapi.ClientOptions{})
	for _, name := range []string{".", "..", "a/b", "/", "a//b/../c", "a%2fb", "?", "#", "a b", "é", "a;b", "...", "auth0|1", "tokens:revoke"} {
		o := local(name)
		made, err := c.AddAccount(background, token.Account{Owner: o})
		if err != nil {
			t.Fatal(err)
		}
		made.DisplayName = "x"
		set, err := c.SetAccount(background, made)
		if got, getErr := c.Account(background, o); err != nil || getErr != nil || got.Owner != o || set.Revision != 2 || got.DisplayName != "x" {
			t.Errorf("the account of %q is %+v, %v, %v", name, got, err, getErr)
		}
		if err := c.DeleteAccount(background, o); err != nil {
			t.Errorf("deleting %q: %v", name, err)
		}
	}
}

// slow is an authority whose log comes one entry every 50 ms, and its tokens too.
type slow struct{ *authority.Local }

// everything is an authority.Service under a name that its methods leave free.
type everything = authority.Service

type slowService struct{ everything }

func (s slow) As(c authority.Caller) authority.Service { return slowService{s.Local.As(c)} }

func (s slowService) ListAudit(ctx context.Context, f audit.Filter) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		for e, err := range s.everything.ListAudit(ctx, f) {
			time.Sleep(50 * time.Millisecond)
			if err == nil {
				err = ctx.Err()
			}
			if e.Detail = strings.Repeat("x", 40<<10); !yield(e, err) { // more than is flushed at once
				return
			}
		}
	}
}

func (s slowService) List(ctx context.Context, sel token.Selector) iter.Seq2[token.Token, error] {
	return func(yield func(token.Token, error) bool) {
		for range 10 {
			time.Sleep(50 * time.Millisecond)
			if !yield(token.Token{Record: token.Record{Owner: local("alice")}}, ctx.Err()) {
				return
			}
		}
	}
}

// What goes on for longer than the server's limits is not cut off.
func TestLongAnswers(t *testing.T) {
	l := newLocal(time.Now)
	for range 10 {
		if _, err := l.As(root).SetPolicy(background, map[string]string{"retention": "100d"}); err != nil {
			t.Fatal(err)
		}
	}
	a := &api{T: t, Local: l}
	a.srv = httptest.NewUnstartedServer(httpapi.NewHandler(httpapi.Options{Rules: slow{l}}))
	a.srv.Config.ReadTimeout, a.srv.Config.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	withPeer(a.srv, root)
	a.srv.Start()
	defer a.srv.Close()
	a.wants(a.ask("GET", "/api/v1/audit", ""), 200, "")
	a.wants(a.ask("GET", "/api/v2/userTokens", ""), 200, "")
	got := a.ask("GET", "/api/v1/audit", "", "Accept", "application/jsonl")
	if n := bytes.Count(got.text, []byte("\n")); n < 10 {
		t.Errorf("there are %d lines", n)
	}
}

// breaksOff is an authority whose log breaks off after some entries.
type breaksOff struct {
	*authority.Local
	after int
}

type brokenService struct {
	everything
	after int
}

func (b breaksOff) As(c authority.Caller) authority.Service {
	return brokenService{b.Local.As(c), b.after}
}

func (b brokenService) ListAudit(context.Context, audit.Filter) iter.Seq2[audit.Entry, error] {
	return func(yield func(audit.Entry, error) bool) {
		for n := range b.after {
			if !yield(audit.Entry{Seq: uint64(n) + 1, Action: "x", Detail: strings.Repeat("x", 1000)}, nil) {
				return
			}
		}
		yield(audit.Entry{}, errors.New("the disk is gone"))
	}
}

// A part is never taken for the whole.
func TestBrokenStream(t *testing.T) {
	for _, after := range []int{0, 1, 100} {
		a := &api{T: t}
		a.srv = newServer(t, breaksOff{newLocal(time.Now), after}, &root)
		if a.wants(a.ask("GET", "/api/v1/audit?limit=1000", ""), 500, "failed"); after < 100 {
			a.wants(a.ask("GET", "/api/v1/audit", "", "Accept", "application/jsonl"), 500, "failed")
			continue
		}
		r, _ := http.NewRequest("GET", a.srv.URL+"/api/v1/audit", nil)
		r.Header.Set("Accept", "application/jsonl")
		resp, err := a.srv.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("the stream ends well after %d bytes", len(text))
		}
		resp.Body.Close()
	}
}

func TestBackup(t *testing.T) {
	a := newAPI(t)
	a.wants(a.ask("POST", "/api/v1/tokens", `{"kind":"user"}`), 201, "")
	var over, here bytes.Buffer
	if err := newClient(t, a.srv, httpapi.ClientOptions{}).Backup(background, &over); err != nil {
		t.Fatal(err)
	}
	if err := a.As(root).Backup(background, &here); err != nil {
		t.Fatal(err)
	}
	if over.Len() == 0 || here.Len() < over.Len() || over.Len() < here.Len()/2 {
		t.Errorf("the backup has %d bytes over the wire, %d here", over.Len(), here.Len())
	}
	nobody := newClient(t, newServer(t, a.Local, &authority.Caller{Via: "test"}), httpapi.ClientOptions{})
	if err := nobody.Backup(background, io.Discard); !errors.Is(err, token.ErrRefused) {
		t.Errorf("a stranger's backup: %v", err)
	}
}
