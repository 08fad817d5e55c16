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

	"github.com/getkin/kin-openapi/routers"
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

// purging is a server with 1,200 owners of staff, who have a token each.
type purging struct {
	*testing.T
	local *authority.Local
	root  authority.Caller
	rules func(authority.Caller) orphans.Service
	file  string // names those who are there
	route routers.Router
}

func newPurging(t *testing.T) *purging {
	t.Helper()
	doc, err := document()
	check(t, err)
	closeObjects(doc)
	s := &purging{T: t, file: filepath.Join(t.TempDir(), "staff.txt"), root: authority.Caller{Owner: local("root"), FileOwner: true}}
	s.route, err = gorillamux.NewRouter(doc)
	check(t, err)
	d, err := list.New(list.Options{Realm: "staff", File: s.file})
	check(t, err)
	kept := memory.New()
	s.local = authority.New(authority.Options{Store: kept, Keys: keyfile.New(time.Now()), Directories: []directory.Directory{d}})
	s.rules = func(c authority.Caller) orphans.Service {
		return orphans.New(orphans.Options{Store: kept, Rules: s.local, Caller: c, Directories: []directory.Directory{d}})
	}
	for i := range 1200 {
		o := token.Owner{Realm: "staff", Name: fmt.Sprint("u", i)}
		_, err := s.local.As(s.root).AddAccount(t.Context(), token.Account{Owner: o, Kind: token.Person})
		check(t, err)
		_, err = s.local.As(s.root).Generate(t.Context(), token.Spec{Kind: token.User, Owner: o})
		check(t, err)
	}
	return s
}

// at is a server whose every connection is a caller's, behind the document.
func (s *purging) at(c authority.Caller) *httptest.Server {
	handler := httpapi.NewHandler(httpapi.Options{Rules: s.local, Orphans: s.rules})
	srv := httptest.NewUnstartedServer(&judge{T: s.T, router: s.route, handler: handler, seen: &sync.Map{}})
	withPeer(srv, c)
	srv.Start()
	s.Cleanup(srv.Close)
	return srv
}

// as is what a caller can do over the wire.
func (s *purging) as(c authority.Caller) orphans.Service {
	return newClient(s.T, s.at(c), httpapi.ClientOptions{}).Orphans()
}

func (s *purging) write(text string) { check(s.T, os.WriteFile(s.file, []byte(text), 0o600)) }

func (s *purging) fails(by orphans.Service, p orphans.Plan, most int, kind error, says string) {
	s.Helper()
	_, err := by.Purge(s.Context(), p, orphans.Consent{MaxOrphans: most})
	if !errors.Is(err, kind) || errors.Is(err, authority.ErrOutcomeUnknown) || !strings.Contains(fmt.Sprint(err), says) {
		s.Errorf("the error is %v, want a %v with %q", err, kind, says)
	}
}

// TestOrphans purges over the wire: what a client gets is what the rules say,
// errors too.
func TestOrphans(t *testing.T) {
	s := newPurging(t)
	admin := s.as(s.root)
	there := ""
	for i := 600; i < 1200; i++ {
		there += fmt.Sprint("u", i, "\n")
	}
	s.write(there)
	p, err := admin.Find(t.Context(), orphans.Query{Realm: "staff"})
	check(t, err)
	direct, err := s.rules(s.root).Find(t.Context(), orphans.Query{})
	check(t, err)
	direct.TakenAt, direct.Digest = p.TakenAt, p.Digest
	if diff := cmp.Diff(direct, p); diff != "" || len(p.Orphans) != 600 {
		t.Fatalf("the plan of %d: -want +got:\n%s", len(p.Orphans), diff)
	}
	s.fails(admin, p, 0, token.ErrUnsafe, "600 of the 1200 owners")
	s.fails(admin, orphans.Plan{Digest: "x"}, 0, token.ErrUsage, "not as it was made")
	auditor := authority.Caller{Owner: local("eve")}
	_, err = s.local.As(s.root).AddAccount(t.Context(), token.Account{Owner: auditor.Owner, Kind: token.Person, Roles: []token.Role{token.Auditor}})
	check(t, err)
	s.fails(s.as(auditor), p, 600, token.ErrUsage, "over 65536 bytes")
	if _, err := s.as(auditor).Find(t.Context(), orphans.Query{}); !errors.Is(err, token.ErrRefused) {
		t.Error(err)
	}
	s.write(there[:len(there)-1])
	s.fails(admin, p, 600, token.ErrCannotTell, "cut off")
	s.write(there)
	check(t, s.local.As(s.root).Suspend(t.Context(), []token.Ref{{ID: p.Orphans[3].Tokens[0].ID}}, time.Time{}))
	s.fails(admin, p, 600, token.ErrConflict, "has changed since")
	p, err = admin.Find(t.Context(), orphans.Query{})
	check(t, err)
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
	// Clients of user tokens know no plan.
	a := &api{T: t, Local: s.local, srv: s.at(s.root)}
	a.wants(a.ask("DELETE", "/api/v2/userTokens/purge", ""), 204, "")
	s.write(there[:len(there)-1])
	a.wants(a.ask("DELETE", "/api/v2/userTokens/purge", ""), 409, "cannot_tell")
}

// A server without directories has nothing to say about orphans.
func TestNoDirectories(t *testing.T) {
	a := newAPI(t)
	a.wants(a.ask("POST", "/api/v1/orphans", `{}`), 404, "not_found")
	a.wants(a.ask("POST", "/api/v1/orphans:purge", `{"plan":null}`), 404, "not_found")
	got := a.ask("DELETE", "/api/v2/userTokens/purge", "") // whose clients know 204 and 409 alone
	a.wants(got, 409, "")
	if !strings.Contains(fmt.Sprint(got.body["detail"]), "no directory is configured") {
		t.Errorf("%s", got.text)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
