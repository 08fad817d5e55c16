package httpapi_test

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/directory/list"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// TestOrphans purges over the wire, past the document: what a client gets is
// what the rules say, errors too.
func TestOrphans(t *testing.T) {
	doc, err := document()
	check(t, err)
	closeObjects(doc)
	router, err := gorillamux.NewRouter(doc)
	check(t, err)
	file := filepath.Join(t.TempDir(), "staff.txt")
	d, err := list.New(list.Options{Realm: "staff", File: file})
	check(t, err)
	s := memory.New()
	l := authority.New(authority.Options{Store: s, Keys: keyfile.New(time.Now())})
	rules := func(c authority.Caller) orphans.Service {
		return orphans.New(orphans.Options{Store: s, Rules: l, Caller: c, Directories: []directory.Directory{d}})
	}
	as := func(c authority.Caller) orphans.Service {
		handler := httpapi.NewHandler(httpapi.Options{Rules: l, Orphans: rules})
		srv := httptest.NewUnstartedServer(&judge{T: t, router: router, handler: handler, seen: &sync.Map{}})
		withPeer(srv, c)
		srv.Start()
		t.Cleanup(srv.Close)
		return newClient(t, srv, httpapi.ClientOptions{}).Orphans()
	}
	root := authority.Caller{Owner: local("root"), FileOwner: true}
	service := l.As(root)
	there := &strings.Builder{}
	for i := range 1200 {
		o := token.Owner{Realm: "staff", Name: fmt.Sprint("u", i)}
		_, err := service.AddAccount(t.Context(), token.Account{Owner: o, Kind: token.Person})
		check(t, err)
		_, err = service.Generate(t.Context(), token.Spec{Kind: token.User, Owner: o})
		check(t, err)
		if i >= 600 {
			fmt.Fprintln(there, o.Name)
		}
	}
	write := func(text string) { check(t, os.WriteFile(file, []byte(text), 0o600)) }
	write(there.String())
	admin := as(root)
	find := func() orphans.Plan {
		t.Helper()
		p, err := admin.Find(t.Context(), orphans.Query{Realm: "staff"})
		check(t, err)
		return p
	}
	fails := func(s orphans.Service, p orphans.Plan, most int, kind error, says string) {
		t.Helper()
		_, err := s.Purge(t.Context(), p, orphans.Consent{MaxOrphans: most})
		if !errors.Is(err, kind) || errors.Is(err, authority.ErrOutcomeUnknown) || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("the error is %v, want a %v with %q", err, kind, says)
		}
	}
	p := find()
	direct, err := rules(root).Find(t.Context(), orphans.Query{})
	check(t, err)
	direct.TakenAt, direct.Digest = p.TakenAt, p.Digest
	if diff := cmp.Diff(direct, p); diff != "" || len(p.Orphans) != 600 {
		t.Fatalf("the plan of %d: -want +got:\n%s", len(p.Orphans), diff)
	}
	fails(admin, p, 0, token.ErrUnsafe, "600 of the 1200 owners")
	fails(admin, orphans.Plan{Digest: "x"}, 0, token.ErrUsage, "not as it was made")
	auditor := authority.Caller{Owner: local("eve")}
	_, err = service.AddAccount(t.Context(), token.Account{Owner: auditor.Owner, Kind: token.Person, Roles: []token.Role{token.Auditor}})
	check(t, err)
	fails(as(auditor), p, 600, token.ErrUsage, "over 65536 bytes")
	if _, err := as(auditor).Find(t.Context(), orphans.Query{}); !errors.Is(err, token.ErrRefused) {
		t.Error(err)
	}
	write(there.String()[:there.Len()-1])
	fails(admin, p, 600, token.ErrCannotTell, "cut off")
	write(there.String())
	check(t, service.Suspend(t.Context(), []token.Ref{{ID: p.Orphans[3].Tokens[0].ID}}, time.Time{}))
	fails(admin, p, 600, token.ErrConflict, "has changed since")
	p = find()
	rep, err := admin.Purge(t.Context(), p, orphans.Consent{MaxOrphans: 600})
	check(t, err)
	want := orphans.Report{
		Plan: p.Digest, Owners: 600, Tokens: 600, Stewardless: []orphans.Stewardless{},
		Realms: []orphans.Purged{{Realm: "staff", Asked: 1200, Owners: 600, Tokens: 600}},
	}
	if diff := cmp.Diff(want, rep); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// An answer that was lost does no harm.
	if rep, err = admin.Purge(t.Context(), p, orphans.Consent{MaxOrphans: 600}); err != nil || rep.Tokens != 0 {
		t.Errorf("again: %+v (%v)", rep, err)
	}
}

// A server without directories has nothing to say about orphans.
func TestNoDirectories(t *testing.T) {
	a := newAPI(t)
	a.wants(a.ask("POST", "/api/v1/orphans", `{}`), 404, "not_found")
	a.wants(a.ask("POST", "/api/v1/orphans:purge", `{"plan":null}`), 404, "not_found")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
