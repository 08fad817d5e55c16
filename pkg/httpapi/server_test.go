package httpapi_test

import (
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/idp"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store/memory"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// site is a server with people: alice (roles reader and writer), bob, admin,
// auditor and proxy, whose role is tokenctl:introspect. All but root have a
// user token.
type site struct {
	*testing.T
	*httptest.Server
	local *authority.Local
	root  authority.Service
	users map[string]authority.Issued
	log   *logged

	mu  sync.Mutex
	now time.Time
}

// logged is a log that a test can read.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func owner(name string) token.Owner { return token.Owner{Realm: token.LocalRealm, Name: name} }

func newSite(t *testing.T, change ...func(*httpapi.Options)) *site {
	t.Helper()
	s := &site{T: t, now: time.Now().UTC().Truncate(time.Second), log: &logged{}, users: map[string]authority.Issued{}}
	s.local = authority.New(authority.Options{Store: memory.New(), Keys: keyfile.New(s.now), Now: s.clock, Serving: true, Federation: idp.New(idp.Options{Now: s.clock})})
	s.root = s.local.As(authority.Caller{Owner: owner("root"), Via: "uid 0", FileOwner: true})
	for name, roles := range map[string][]token.Role{
		"alice": {"reader", "writer"}, "bob": nil, "admin": {token.Admin}, "auditor": {token.Auditor}, "proxy": {token.Introspect},
	} {
		_, err := s.root.AddAccount(t.Context(), token.Account{Owner: owner(name), Kind: token.Person, Roles: roles})
		s.must(err)
		s.users[name], err = s.root.Generate(t.Context(), token.Spec{Kind: token.User, Owner: owner(name)})
		s.must(err)
	}
	o := httpapi.Options{Rules: s.local, Log: slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&o)
	}
	s.Server = httptest.NewServer(httpapi.NewHandler(o))
	t.Cleanup(s.Close)
	return s
}

func (s *site) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) clock() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *site) wait(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// trustLoopback makes the test a trusted proxy.
func trustLoopback(o *httpapi.Options) {
	o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request as it is.
func (s *site) send(r *http.Request, err error) answer {
	s.Helper()
	s.must(err)
	got, err := http.DefaultTransport.RoundTrip(r) // no redirects, no cookies
	s.must(err)
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	s.must(err)
	return answer{got.StatusCode, got.Header, string(b)}
}

func basic(user, pass string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+pass))
}

// of is the Authorization header of a user's token.
func (s *site) of(name string) string {
	i := s.users[name]
	return basic(i.Token.ID.String(), i.Secret.Reveal())
}

func bearer(s secret.Secret) string { return "Bearer " + s.Reveal() }

// get asks with a header, or without one if it is empty.
func (s *site) get(path, authorization string) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodGet, s.URL+path, nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return s.send(r, err)
}

// post sends a form of names and values.
func (s *site) post(path, authorization string, fields ...string) answer {
	s.Helper()
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	return s.postRaw(path, authorization, "application/x-www-form-urlencoded", form.Encode())
}

func (s *site) postRaw(path, authorization, contentType, body string) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.URL+path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return s.send(r, err)
}

func (s *site) generate(spec token.Spec) authority.Issued {
	s.Helper()
	i, err := s.root.Generate(s.Context(), spec)
	s.must(err)
	return i
}

func (s *site) exchange(i authority.Issued) authority.AccessToken {
	s.Helper()
	a, err := s.root.Exchange(s.Context(), authority.Exchange{RefreshToken: i.Secret})
	s.must(err)
	return a
}

func (s *site) wants(what string, got answer, status int) {
	s.Helper()
	if got.status != status {
		s.Errorf("%s: status %d, want %d: %s", what, got.status, status, got.body)
	}
	if secret.Contains(got.body) && status >= 400 {
		s.Errorf("%s: the answer shows a secret: %s", what, got.body)
	}
}

// chunked is a body whose length nobody can tell.
type chunked struct{ io.Reader }
