package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// raw sends bytes and returns the answers until the server closes, or nothing
// more comes.
func (s *site) raw(text string) (answers []string) {
	s.Helper()
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	s.must(err)
	defer c.Close()
	_, err = io.WriteString(c, text)
	s.must(err)
	s.must(c.SetReadDeadline(time.Now().Add(2 * time.Second)))
	for r := bufio.NewReader(c); ; {
		got, err := http.ReadResponse(r, nil)
		if err != nil {
			return answers
		}
		io.Copy(io.Discard, got.Body)
		answers = append(answers, fmt.Sprint(got.StatusCode))
	}
}

// Nothing that stands behind an ambiguous request is taken for another one.
func TestNothingIsSmuggled(t *testing.T) {
	s := newSite(t)
	head := "Host: x\r\nAuthorization: " + s.of("alice") + "\r\n"
	next := "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	for what, c := range map[string]struct{ text, want string }{
		"both lengths":       {"POST /verify HTTP/1.1\r\n" + head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next, "411"},
		"chunks":             {"POST /api/v1/tokens HTTP/1.1\r\n" + head + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next, "411"},
		"chunks in HTTP/1.0": {"POST /verify HTTP/1.0\r\n" + head + "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + next, "200"},
		"a user in the URL":  {"GET http://u:p@x/verify HTTP/1.1\r\n" + head + "Connection: close\r\n\r\n", "400"},
	} {
		if got := strings.Join(s.raw(c.text), " "); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
}

// Whatever somebody puts a secret into, the log does not have it.
func TestLogHoldsNoSecret(t *testing.T) {
	s := newSite(t)
	text := s.users["alice"].Secret.Reveal()
	admin := s.of("admin")
	for _, path := range []string{"/" + text, "/api/v1/tokens/" + text, "/api/v1/tokens?kind=" + text, "/api/v1/tokens?" + text + "=1", "/api/v1/accounts/local/" + text} {
		s.get(path, admin)
	}
	for _, body := range []string{`{"kind":"` + text + `"}`, `{"` + text + `":1}`, `{"kind":"refresh","name":"` + text + `"}`, `{"kind":"refresh","roles":["` + text + `"]}`} {
		s.wants("a secret where a name belongs", s.postRaw("/api/v1/tokens", admin, "application/json", body), http.StatusBadRequest)
	}
	s.wants("a secret as reason", s.postRaw("/api/v1/tokens:revoke", admin, "application/json", `{"tokens":[{"id":"`+s.users["bob"].Token.ID.String()+`"}],"reason":"`+text+`"}`), http.StatusBadRequest)
	if log := s.log.String(); secret.Contains(log) || !strings.Contains(log, "holds a secret") {
		t.Errorf("the log: %s", log)
	}
}

// A flood of requests that are refused does not flood the log.
func TestLogIsSampled(t *testing.T) {
	s := newSite(t)
	for range 300 {
		s.get("/api/v1/whoami", "Bearer garbage")
		s.get("/api/v1/stats", s.of("alice"))
	}
	if lines := strings.Count(s.log.String(), "\n"); lines > 100 {
		t.Errorf("600 refusals make %d lines", lines)
	}
}

// What a narrowed credential makes ends with what it was made from, and an
// answer that a wider one got is not given to it.
func TestNarrowedCredentials(t *testing.T) {
	s := newSite(t)
	_, err := s.root.SetPolicy(t.Context(), map[string]string{"refresh_tokens": "everyone"})
	s.must(err)
	parent := s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice"), Connection: authority.SelfConnection, Roles: []token.Role{"reader"}, Lifetime: 24 * time.Hour})
	narrow := bearer(s.exchange(parent).Text)
	var made struct {
		ExpiresAt time.Time `json:"expires_at"`
	}
	got := s.postRaw("/api/v1/tokens", narrow, "application/json", `{"kind":"refresh","roles":["reader"],"lifetime":"30d"}`)
	s.wants("a refresh token by a narrowed one", got, http.StatusCreated)
	s.must(json.Unmarshal([]byte(got.body), &made))
	if !made.ExpiresAt.Equal(parent.Token.ExpiresAt) {
		t.Errorf("it ends %s, its parent %s", made.ExpiresAt, parent.Token.ExpiresAt)
	}
	once := func(authorization string) answer {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/api/v1/tokens", strings.NewReader(`{"kind":"refresh","roles":["writer"]}`))
		r.Header = http.Header{"Authorization": {authorization}, "Content-Type": {"application/json"}, "Idempotency-Key": {"a-key-of-128-bits-at-least"}}
		return s.send(r, err)
	}
	s.wants("the wide one", once(s.of("alice")), http.StatusCreated)
	s.wants("the wide one again", once(s.of("alice")), http.StatusCreated)
	s.wants("the narrow one", once(narrow), http.StatusConflict)
}

// A client that reads a backup slowly holds up nobody.
func TestBackupIsReadSlowly(t *testing.T) {
	s := newSite(t)
	c, err := net.Dial("tcp", s.Listener.Addr().String())
	s.must(err)
	defer c.Close()
	_, err = io.WriteString(c, "GET /api/v1/backup HTTP/1.1\r\nHost: x\r\nAuthorization: "+s.of("admin")+"\r\n\r\n")
	s.must(err)
	got, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, 512)), nil) // and no further
	s.must(err)
	if got.ContentLength <= 0 {
		t.Errorf("the length is %d: whoever gets less would not know", got.ContentLength)
	}
	for range 100 { // none waits for the reader
		s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice")})
	}
	s.wants("a question meanwhile", s.get("/verify", s.of("alice")), http.StatusOK)
}

// A time that no clock can show does not get into the store.
func TestSuspendUntilNever(t *testing.T) {
	s := newSite(t)
	id := s.users["alice"].Token.ID.String()
	for _, until := range []string{"9999-12-31T23:59:59-14:00", "9999-12-31T23:59:60Z", "10000-01-01T00:00:00Z"} {
		s.wants(until, s.postRaw("/api/v1/tokens/"+id+"/suspend", s.of("alice"), "application/json", `{"until":"`+until+`"}`), http.StatusBadRequest)
	}
	s.wants("the list", s.get("/api/v1/tokens?all_owners=true", s.of("admin")), http.StatusOK)
}

// Whoever is at the local socket has the rights that they have, and no others.
func TestPeersHaveTheirOwnRights(t *testing.T) {
	s := newSite(t)
	for name, want := range map[string]string{"alice": `{"active":false}`, "proxy": `"active":true`, "root": `"active":true`} {
		h := httptest.NewUnstartedServer(httpapi.NewHandler(httpapi.Options{Rules: s.local}))
		h.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
			return httpapi.WithPeer(ctx, authority.Caller{Owner: owner(name), FileOwner: name == "root"})
		}
		h.Start()
		s.URL = h.URL
		got := s.post("/oauth2/introspect", "", "token", s.users["bob"].Secret.Reveal())
		h.Close()
		if got.status != http.StatusOK || !strings.Contains(got.body, want) {
			t.Errorf("%s asks about bob's token: %d %s", name, got.status, got.body)
		}
	}
}
