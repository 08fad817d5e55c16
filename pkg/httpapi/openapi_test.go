package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/authority/authoritytest"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
)

// document is openapi.yaml as the server gives it out.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	rec := httptest.NewRecorder()
	httpapi.NewHandler(httpapi.Options{Rules: newLocal(time.Now)}).ServeHTTP(rec, httptest.NewRequest("GET", "/api/openapi.yaml", nil))
	return openapi3.NewLoader().LoadFromData(rec.Body.Bytes())
})

func newLocal(now func() time.Time) *authority.Local {
	return authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(now()), Now: now, Federation: idp.New(idp.Options{Now: now})})
}

func TestDocumentIsValid(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Error(err)
	}
}

// otherRoutes finds the routes beside the management API in the source: their
// patterns are literals.
func otherRoutes(t *testing.T) []string {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"GET /api/openapi.yaml", "GET /verify", "GET /.well-known/oauth-authorization-server", "GET /.well-known/oauth-authorization-server/{path}"}
	pattern := regexp.MustCompile(`"((?:GET|POST|PUT|PATCH|DELETE) /[^"]+)"`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range pattern.FindAllSubmatch(text, -1) {
			all = append(all, string(found[1]))
		}
	}
	return all
}

func TestEveryRouteIsDocumented(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	routes := append(httpapi.Routes(), otherRoutes(t)...)
	for _, list := range [][]string{documented, routes} {
		slices.Sort(list)
	}
	if routes = slices.Compact(routes); !slices.Equal(documented, routes) {
		for _, r := range routes {
			if !slices.Contains(documented, r) {
				t.Errorf("%s is not in the document", r)
			}
		}
		for _, d := range documented {
			if !slices.Contains(routes, d) {
				t.Errorf("%s is in the document, but no route", d)
			}
		}
	}
}

// TestDocumentHolds runs all that the suite asks past the document: what is
// answered is as it says, and what it does not allow does not succeed.
func TestDocumentHolds(t *testing.T) {
	var seen sync.Map
	authoritytest.Run(t, func(t *testing.T, now func() time.Time) authoritytest.Authority {
		l := newLocal(now)
		return authoritytest.Authority{Maintain: l.Maintain, As: func(c authority.Caller) authority.Service {
			return newClient(t, newJudged(t, l, c, &seen), httpapi.ClientOptions{})
		}}
	})
	for _, route := range httpapi.Routes() {
		if _, was := seen.Load(route); !was && !slices.Contains(askedElsewhere, route) {
			t.Errorf("the suite never asks %s", route)
		}
	}
}

// askedElsewhere are the routes that the Client has no use for, or the suite
// has not; TestChangesOfOneToken, TestBackup and TestOrphans ask them.
var askedElsewhere = []string{
	"POST /api/v1/tokens/{id}/suspend", "POST /api/v1/tokens/{id}/resume", "POST /api/v1/tokens/{id}/revoke", "GET /api/v1/backup",
	"POST /api/v1/orphans", "POST /api/v1/orphans:purge",
}

// closeObjects makes the document complete for the answers of this version: a
// field that it does not name is an error.
func closeObjects(doc *openapi3.T) {
	no := false
	for name, s := range doc.Components.Schemas {
		// Token and Identity are parts of other schemas.
		if v := s.Value; len(v.Properties) > 0 && len(v.AllOf) == 0 && v.AdditionalProperties.Schema == nil && name != "Token" && name != "Identity" {
			v.AdditionalProperties.Has = &no
		}
	}
}

// closed is the document with closed objects, to find its routes.
var closed = sync.OnceValues(func() (routers.Router, error) {
	doc, err := document()
	if err != nil {
		return nil, err
	}
	closeObjects(doc)
	return gorillamux.NewRouter(doc)
})

// newJudged is a server of a caller whose answers are compared with the
// document. The routes that were asked go into seen.
func newJudged(t *testing.T, rules httpapi.Rules, c authority.Caller, seen *sync.Map) *httptest.Server {
	t.Helper()
	router, err := closed()
	if err != nil {
		t.Fatal(err)
	}
	handler := httpapi.NewHandler(httpapi.Options{Rules: rules, TrustedProxies: loopback})
	srv := httptest.NewUnstartedServer(&judge{T: t, router: router, handler: handler, seen: seen})
	withPeer(srv, c)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv
}

// judge compares what a handler is asked and answers with the document.
type judge struct {
	*testing.T
	router  routers.Router
	handler http.Handler
	seen    *sync.Map
}

func (j *judge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	route, params, err := j.router.FindRoute(r)
	if err != nil {
		j.Errorf("%s %s: %v", r.Method, r.URL, err)
		return
	}
	count, _ := j.seen.LoadOrStore(route.Method+" "+route.Path, new(atomic.Int64))
	if n := count.(*atomic.Int64).Add(1); n > 100 && n%10 != 0 { // the suite asks some routes thousands of times
		j.handler.ServeHTTP(w, r)
		return
	}
	options := &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	wrong := openapi3filter.ValidateRequest(r.Context(), in)
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	j.handler.ServeHTTP(rec, r)
	if wrong != nil && rec.Code < 400 {
		j.Errorf("%s %s %s succeeds against the document: %v", r.Method, r.URL, body, wrong)
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: rec.Code, Header: rec.Header(), Options: options}
	if err := openapi3filter.ValidateResponse(r.Context(), out.SetBodyBytes(rec.Body.Bytes())); err != nil {
		j.Errorf("%s %s: status %d: %v", r.Method, r.URL, rec.Code, err)
	}
	if rec.Header().Get("Cache-Control") == "" {
		j.Errorf("%s %s may be cached", r.Method, r.URL)
	}
	for name, values := range rec.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(rec.Code)
	w.Write(rec.Body.Bytes())
}
