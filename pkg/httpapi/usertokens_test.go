package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// ask sends a request with a method and, maybe, a JSON body.
func (s *site) ask(method, path, authorization, body string) answer {
	s.Helper()
	r, err := http.NewRequestWithContext(s.Context(), method, s.URL+path, strings.NewReader(body))
	r.Header.Set("Authorization", authorization)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return s.send(r, err)
}

// judged puts the document before a site: what is answered is as it says.
func (s *site) judged(seen *sync.Map) *site {
	s.Helper()
	doc, err := document()
	s.must(err)
	closeObjects(doc)
	router, err := gorillamux.NewRouter(doc)
	s.must(err)
	s.Close()
	s.Server = httptest.NewServer(&judge{T: s.T, router: router, handler: s.Config.Handler, seen: seen})
	s.Cleanup(s.Close)
	return s
}

// A client of the user-token interface, as it was written for another server,
// finds all that it knows, and what the document says.
func TestUserTokenInterface(t *testing.T) {
	var seen sync.Map
	t.Run("tokens", func(t *testing.T) { asksUserTokens(t, newSite(t).judged(&seen)) })
	t.Run("expiration days", func(t *testing.T) { asksExpirationDays(t, newSite(t).judged(&seen)) })
	for _, route := range otherRoutes(t) {
		if _, was := seen.Load(route); !was && strings.Contains(route, " /api/v2/") {
			t.Errorf("nobody asks %s", route)
		}
	}
}

func asksUserTokens(t *testing.T, s *site) {
	const path = "/api/v2/userTokens"
	s.must(s.root.SetPassword(t.Context(), owner("alice"), secret.Secret{}, secret.FromText("correct horse battery")))
	alice := basic("alice", "correct horse battery")
	s.wants("she has one", s.ask("GET", path+"/currentUser/hasToken", alice, ""), 200)
	s.wants("another", s.ask("POST", path+"/currentUser", alice, ""), 409)
	s.wants("deleted", s.ask("DELETE", path+"/currentUser", alice, ""), 204)
	s.wants("deleted again", s.ask("DELETE", path+"/currentUser", alice, ""), 404)
	if got := s.ask("GET", path+"/currentUser/hasToken", alice, ""); got.status != 200 || strings.TrimSpace(got.body) != `{"userTokenExists":false}` {
		t.Errorf("hasToken: %d %s", got.status, got.body)
	}
	s.wants("no time of its making", s.ask("GET", path+"/currentUser/createTime", alice, ""), 404)

	got := s.ask("POST", path+"/currentUser", alice, "")
	s.wants("made", got, 200)
	var made struct{ UserCode, PassCode, Username, Realm, CreateTime string }
	s.must(json.Unmarshal([]byte(got.body), &made))
	if made.Username != "alice" || made.Realm != "Internal" || made.PassCode == "" {
		t.Errorf("made: %s", got.body)
	}
	for _, field := range []string{"lastAccessTime", "expirationDate"} {
		if !strings.Contains(got.body, `"`+field+`":null`) {
			t.Errorf("made: %s", got.body)
		}
	}
	s.wants("it verifies", s.get("/verify", basic(made.UserCode, made.PassCode)), 200)
	if got := s.ask("GET", path+"/currentUser/createTime", alice, ""); strings.TrimSpace(got.body) != `"`+made.CreateTime+`"` {
		t.Errorf("createTime: %s", got.body)
	}

	admin, day := s.of("admin"), 24*time.Hour
	on := func(d time.Duration) string { return s.clock().Add(d).Format(time.DateOnly) }
	for query, want := range map[string]int{
		"": 5, "?realm=Internal": 5, "?realm=local": 5, "?realm=corp": 0,
		"?createdAfter=" + on(0): 5, "?createdAfter=" + on(day): 0,
		"?createdBefore=" + on(day): 5, "?createdBefore=" + on(0): 0,
		"?createdAfter=" + on(-day) + "&createdBefore=" + on(day): 5,
		"?createdAfter=" + on(0) + "&createdBefore=" + on(0):      0,
	} {
		got := s.ask("GET", path+query, admin, "")
		var all []struct{ UserCode, PassCode string }
		if err := json.Unmarshal([]byte(got.body), &all); err != nil || got.status != 200 || len(all) != want || strings.Contains(got.body, "passCode") {
			t.Errorf("%q: %d, %d tokens, want %d: %v", query, got.status, len(all), want, err)
		}
	}
	s.wants("a garbled day", s.ask("GET", path+"?createdAfter=yesterday", admin, ""), 400)
	s.wants("days turned round", s.ask("GET", path+"?createdAfter="+on(day)+"&createdBefore="+on(0), admin, ""), 400)
	for _, query := range []string{"?realm=local&realm=corp", "?createdAfter=" + on(0) + "&createdAfter=" + on(day), "/alice?realm=local&realm=local"} {
		s.wants("twice", s.ask("GET", path+query, admin, ""), 400)
	}
	s.wants("not for all", s.ask("GET", path, s.of("bob"), ""), 403)

	if got := s.ask("GET", path+"/alice", admin, ""); got.status != 200 || !strings.Contains(got.body, made.UserCode) {
		t.Errorf("of alice: %d %s", got.status, got.body)
	}
	s.wants("of alice elsewhere", s.ask("GET", path+"/alice?realm=corp", admin, ""), 404)
	s.wants("of nobody", s.ask("GET", path+"/nobody", admin, ""), 404)
	s.wants("by code, not by all", s.ask("DELETE", path+"/userCode/"+made.UserCode, s.of("bob"), ""), 403)
	s.wants("by code", s.ask("DELETE", path+"/userCode/"+made.UserCode, admin, ""), 204)
	s.wants("by code again", s.ask("DELETE", path+"/userCode/"+made.UserCode, admin, ""), 404)
	s.wants("a purge, not for all", s.ask("DELETE", path+"/purge", s.of("bob"), ""), 403)
	s.wants("a purge without a directory", s.ask("DELETE", path+"/purge", admin, ""), 409)
	s.wants("by no code", s.ask("DELETE", path+"/userCode/nonsense", admin, ""), 404)
	s.wants("it has ended", s.get("/verify", basic(made.UserCode, made.PassCode)), 401)
}

func asksExpirationDays(t *testing.T, s *site) {
	const path = "/api/v2/config/userTokens"
	days := func(want int) {
		t.Helper()
		got := s.ask("GET", path, s.of("admin"), "")
		if strings.TrimSpace(got.body) != fmt.Sprintf(`{"userTokenDefaultExpirationDays":%d}`, want) {
			t.Errorf("%s, want %d", got.body, want)
		}
	}
	days(0)
	s.wants("for all", s.ask("PUT", path, s.of("alice"), `{"userTokenDefaultExpirationDays":30}`), 403)
	s.wants("for admins", s.ask("PUT", path, s.of("admin"), `{"userTokenDefaultExpirationDays":30}`), 204)
	days(30)
	s.wants("none", s.ask("PUT", path, s.of("admin"), `{"userTokenDefaultExpirationDays":0}`), 400)
	_, err := s.root.AddAccount(t.Context(), token.Account{Owner: owner("eve"), Kind: token.Person})
	s.must(err)
	if i := s.generate(token.Spec{Kind: token.User, Owner: owner("eve")}); !i.Token.ExpiresAt.Equal(s.clock().Add(30 * token.Day)) {
		t.Errorf("a new one ends %s", i.Token.ExpiresAt)
	}
	s.wants("unlimited", s.ask("DELETE", path, s.of("admin"), ""), 204)
	days(0)
}
