package httpapi_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// mailbox is another system, which may be down.
type mailbox struct {
	name string
	down atomic.Bool
}

func (m *mailbox) Name() string              { return m.name }
func (m *mailbox) Order() int                { return 0 }
func (m *mailbox) Serves(o token.Owner) bool { return o.Realm == token.LocalRealm }

func (m *mailbox) Prepare(context.Context, provision.Target, secret.Secret) ([]byte, error) {
	return []byte("a hash"), nil
}

func (m *mailbox) Apply(context.Context, *provision.Event) error {
	if m.down.Load() {
		return token.Errorf(token.ErrCannotTell, "the mail server is down")
	}
	return nil
}

// newPost is a server, held against the document, with two mailboxes and a
// service that tells both.
func newPost(t *testing.T) (a *api, mail, backup *mailbox) {
	mail, backup = &mailbox{name: "mail"}, &mailbox{name: "backup"}
	l := authority.New(authority.Options{
		Store: memory.New(), Keys: keyfile.New(time.Now()), Provisioners: []provision.Provisioner{mail, backup},
	})
	a = &api{t, l, newJudged(t, l, root, &sync.Map{})}
	a.wants(a.ask("POST", "/api/v1/services", `{"name":"imap","status":"enabled","token_type":"strong","provisioners":["mail","backup"]}`), 201, "")
	return a, mail, backup
}

func TestServices(t *testing.T) {
	a, _, _ := newPost(t)
	made := a.ask("POST", "/api/v1/services", `{"name":"dav"}`)
	a.wants(made, 201, "")
	if made.body["created_at"] == nil {
		t.Error("nobody knows when it was made")
	}
	delete(made.body, "created_at")
	want := map[string]any{
		"name": "dav", "display_name": nil, "status": "disabled", "token_type": "plain15", "realm": "local", "provisioners": []any{},
		"created_by": "local/root", "revision": 1.0,
	}
	if diff := cmp.Diff(want, made.body); diff != "" {
		t.Errorf("-want +got %s", diff)
	}
	a.wants(a.ask("POST", "/api/v1/services", `{"name":"dav"}`), 409, "conflict")
	for _, body := range []string{
		``, `{"name":"a b"}`, `{"name":"x","status":"on"}`, `{"name":"x","status":""}`, `{"name":"x","token_type":"plain16"}`, `{"name":"x","realm":""}`,
		`{"name":"x","enabled":true}`, `{"name":"x","provisioners":["nowhere"]}`, `{"name":"x","provisioners":["mail","mail"]}`, `{"name":"x","provisioners":"mail"}`,
	} {
		a.wants(a.ask("POST", "/api/v1/services", body), 400, "usage")
	}
	const path = "/api/v1/services/dav"
	set := a.ask("PUT", path, `{"display_name":"Calendars","status":"enabled","revision":1}`)
	a.wants(set, 200, "")
	if set.body["status"] != "enabled" || set.body["display_name"] != "Calendars" || set.body["revision"] != 2.0 || set.body["created_by"] != "local/root" {
		t.Errorf("the service is %s", set.text)
	}
	a.wants(a.ask("PUT", path, `{"revision":1}`), 409, "conflict")
	a.wants(a.ask("PUT", path, `{"name":"imap"}`), 400, "usage")
	if set = a.ask("PUT", path, `{}`); set.StatusCode != 200 || set.body["status"] != "enabled" || set.body["display_name"] != "Calendars" || set.body["revision"] != 3.0 {
		t.Errorf("what is left out is as %s", set.text)
	}
	a.wants(a.ask("PUT", "/api/v1/services/nowhere", `{}`), 404, "not_found")
	a.wants(a.ask("DELETE", path, ""), 204, "")
	for _, method := range []string{"GET", "DELETE"} {
		a.wants(a.ask(method, path, ""), 404, "not_found")
	}
	const key = "0123456789abcdefghij-_"
	first := a.ask("POST", "/api/v1/services", `{"name":"dav"}`, "Idempotency-Key", key)
	a.wants(first, 201, "")
	if again := a.ask("POST", "/api/v1/services", `{"name":"dav"}`, "Idempotency-Key", key); string(again.text) != string(first.text) {
		t.Errorf("the same request has two answers, the second is %s", again.text)
	}
}

// A request for a replacement that is repeated replaces nothing again.
func TestReplaceOnce(t *testing.T) {
	a, _, _ := newPost(t)
	const ask, key = `{"kind":"service","service":"imap","replace":true}`, "0123456789abcdefghij-_"
	old := a.ask("POST", "/api/v1/tokens", ask)
	a.wants(old, 201, "")
	if !strings.HasPrefix(fmt.Sprint(old.body["password"]), "tks_") || old.body["service"] != "imap" {
		t.Errorf("the password is not in %s", old.text)
	}
	a.wants(a.ask("POST", "/api/v1/tokens", `{"kind":"service","service":"imap","replace":false}`), 409, "conflict")
	a.wants(a.ask("POST", "/api/v1/tokens", `{"kind":"user","replace":true}`), 400, "usage")
	first := a.ask("POST", "/api/v1/tokens", ask, "Idempotency-Key", key)
	again := a.ask("POST", "/api/v1/tokens", ask, "Idempotency-Key", key)
	a.wants(again, 201, "")
	if first.body["password"] != again.body["password"] || first.body["password"] == old.body["password"] {
		t.Error("the same request has two answers")
	}
	if live := a.ask("GET", "/api/v1/tokens?service=imap", "").body["tokens"].([]any); len(live) != 1 || live[0].(map[string]any)["id"] != first.body["id"] {
		t.Errorf("there are %v", live)
	}
}

func TestProvisioning(t *testing.T) {
	a, mail, backup := newPost(t)
	mail.down.Store(true)
	made := a.ask("POST", "/api/v1/tokens", `{"kind":"service","service":"imap"}`)
	a.wants(made, 201, "")
	id := made.body["id"].(string)
	list := func(query string) (all []string) {
		t.Helper()
		got := a.ask("GET", "/api/v1/provisioning"+query, "")
		a.wants(got, 200, "")
		for _, item := range got.body["deliveries"].([]any) {
			d := item.(map[string]any)
			all = append(all, fmt.Sprint(d["provisioner"], " ", d["status"], " ", d["attempts"], " ", d["error"]))
		}
		return all
	}
	same := func(what string, got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: -want +got %s", what, diff)
		}
	}
	same("at first", list(""), "backup pending 0 <nil>", "mail pending 0 <nil>")
	got := a.ask("POST", "/api/v1/tokens/"+id+"/deliver", "")
	a.wants(got, 200, "")
	pending := got.body["pending"].([]any)
	if len(pending) != 1 {
		t.Fatalf("pending is %s", got.text)
	}
	d := pending[0].(map[string]any)
	if d["token"] != id || d["owner"] != "local/root" || d["service"] != "imap" || d["event"] == nil || d["last_try"] == nil || d["due"] == nil || d["acknowledged_at"] != nil {
		t.Errorf("pending is %s", got.text)
	}
	same("what has failed", list(""), "backup delivered 0 <nil>", "mail pending 1 the mail server is down")
	same("what is pending", list("?pending=true&owner=root&service=imap&token_id="+id), "mail pending 1 the mail server is down")
	same("of another", list("?provisioner=backup"), "backup delivered 0 <nil>")
	for _, none := range []string{"?service=dav", "?owner=nobody", "?token_id=0123456789abcdef", "?provisioner=backup&pending=true"} {
		same(none, list(none))
	}
	retry := func(body string, want float64) {
		t.Helper()
		got := a.ask("POST", "/api/v1/provisioning:retry", body)
		if a.wants(got, 200, ""); got.body["retried"] != want {
			t.Errorf("%s: %s, want %g", body, got.text, want)
		}
	}
	retry(`{"provisioner":"backup"}`, 0)
	mail.down.Store(false)
	retry(`{"token_id":"`+id+`","owner":"root","service":"imap","provisioner":"mail"}`, 1)
	if got := a.ask("POST", "/api/v1/tokens/"+id+"/deliver", "{}"); string(got.text) != "{\"pending\":[]}\n" {
		t.Errorf("pending is %s", got.text)
	}
	same("at last", list(""), "backup delivered 0 <nil>", "mail delivered 0 <nil>")
	retry("", 0)

	for _, query := range []string{"token=" + id, "token_id=x", "owner=", "pending=1", "colour=red", "service=a%20b"} {
		a.wants(a.ask("GET", "/api/v1/provisioning?"+query, ""), 400, "")
	}
	for _, body := range []string{`{"service":""}`, `{"owner":null}`, `{"pending":true}`, `{"colour":"red"}`, `{"token":"` + id + `"}`, `[]`} {
		a.wants(a.ask("POST", "/api/v1/provisioning:retry", body), 400, "usage")
	}
	a.wants(a.ask("POST", "/api/v1/tokens/x/deliver", ""), 400, "usage")

	// The same, as the client has it.
	backup.down.Store(true)
	c := newClient(t, a.srv, httpapi.ClientOptions{})
	i, err := c.Generate(background, token.Spec{Kind: token.Service, Service: "imap", Replace: true})
	if err != nil {
		t.Fatal(err)
	}
	left, err := c.Deliver(background, i.Token.ID)
	if err != nil || len(left) != 1 || left[0].Provisioner != "backup" {
		t.Errorf("pending is %+v, %v", left, err)
	}
	for _, f := range []authority.DeliveryFilter{{}, {Token: i.Token.ID}, {Owner: local("root"), Service: "imap", Provisioner: "backup"}, {Pending: true}} {
		over, here := collect(t, c.ListDeliveries(background, f)), collect(t, a.As(root).ListDeliveries(background, f))
		if diff := cmp.Diff(here, over); diff != "" || len(here) == 0 {
			t.Errorf("%+v: -here +over the wire %s", f, diff)
		}
	}
	if n, err := c.RetryDeliveries(background, authority.DeliveryFilter{Token: i.Token.ID, Pending: true}); n != 1 || err != nil {
		t.Errorf("%d are retried, %v", n, err)
	}
}

// Pages of deliveries are in the order of tokens and provisioners.
func TestDeliveryPages(t *testing.T) {
	a, _, _ := newPost(t)
	for n := range 4 {
		owner := local(fmt.Sprintf("a%d", n))
		if _, err := a.As(root).AddAccount(background, token.Account{Owner: owner}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.As(root).Generate(background, token.Spec{Kind: token.Service, Service: "imap", Owner: owner}); err != nil {
			t.Fatal(err)
		}
	}
	all := collect(t, a.As(root).ListDeliveries(background, authority.DeliveryFilter{}))
	for limit := 1; limit <= 9; limit++ {
		var paged []string
		for after := ""; ; {
			got := a.ask("GET", fmt.Sprintf("/api/v1/provisioning?limit=%d%s", limit, after), "")
			a.wants(got, 200, "")
			for _, item := range got.body["deliveries"].([]any) {
				d := item.(map[string]any)
				paged = append(paged, fmt.Sprint(d["token"], "/", d["provisioner"]))
			}
			if got.body["next"] == nil {
				break
			}
			after = "&after=" + got.body["next"].(string)
		}
		var want []string
		for _, d := range all {
			want = append(want, d.Token.String()+"/"+d.Provisioner)
		}
		if diff := cmp.Diff(want, paged); diff != "" || len(want) != 8 {
			t.Errorf("pages of %d: -want +got %s", limit, diff)
		}
	}
}
