package httpapi_test

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// rotating makes a connection that rotates, with a retry window of 30 s, and a
// refresh token of it.
func (s *site) rotating(reuse token.Reuse) authority.Issued {
	s.Helper()
	c := token.NewConnection("rotating-" + string(reuse))
	c.Rotate, c.Reuse = true, reuse
	_, err := s.root.AddConnection(s.Context(), c)
	s.must(err)
	return s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice"), Connection: c.Name})
}

// redeem exchanges a refresh token at the token endpoint.
func (s *site) redeem(text string) answer {
	s.Helper()
	return s.post("/oauth2/token", "", "grant_type", "refresh_token", "refresh_token", text)
}

// next is the refresh token of an answer.
func (s *site) next(what string, got answer) string {
	s.Helper()
	s.wants(what, got, http.StatusOK)
	var body map[string]any
	s.must(json.Unmarshal([]byte(got.body), &body))
	text, _ := body["refresh_token"].(string)
	if access, _ := body["access_token"].(string); access == "" || text == "" || body["token_type"] != "Bearer" || body["expires_in"] != 3600.0 || len(body) != 5 {
		s.Errorf("%s: %s", what, got.body)
	}
	return text
}

// The answer has the new refresh token (RFC 6749 §6), the old one gets the same
// one for a moment, and is then like any other that is not accepted.
func TestTokenEndpointRotates(t *testing.T) {
	s := newSite(t)
	first := s.rotating(token.ReuseRevoke).Secret.Reveal()
	second := s.next("the first", s.redeem(first))
	if second == first || s.next("the retry", s.redeem(first)) != second {
		t.Error("the retry does not get what took the first one's place")
	}
	third := s.next("the second", s.redeem(second))
	s.wait(32 * time.Second)
	s.fails("after the window", s.redeem(second), http.StatusBadRequest, "invalid_grant")
	s.fails("the new one, after a reuse", s.redeem(third), http.StatusBadRequest, "invalid_grant")
}

// For everything but a retry a refresh token that was used up is one that is not
// accepted; who has it may end what took its place (RFC 7009).
func TestUsedUpRefreshToken(t *testing.T) {
	for _, after := range []time.Duration{0, 32 * time.Second} {
		s := newSite(t)
		issued := s.rotating(token.ReuseRevoke)
		first := issued.Secret.Reveal()
		second := s.next("the first", s.redeem(first))
		s.wait(after)
		active := func(text string) bool {
			t.Helper()
			got := s.post("/oauth2/introspect", s.of("proxy"), "token", text)
			s.wants("introspection", got, http.StatusOK)
			var body struct{ Active bool }
			s.must(json.Unmarshal([]byte(got.body), &body))
			return body.Active
		}
		if active(first) || !active(second) {
			t.Errorf("after %s the first is active: %v, the second: %v", after, active(first), active(second))
		}
		s.wants("verify", s.get("/verify", bearer(secret.FromText(first))), http.StatusUnauthorized)
		if !active(second) {
			t.Error("looking at the first has ended the second")
		}
		s.wants("revoke", s.post("/oauth2/revoke", "", "token", first, "client_id", issued.Token.Connection), http.StatusOK)
		if active(second) {
			t.Errorf("after %s the second outlives the revocation of the first", after)
		}
		s.fails("the second, revoked", s.redeem(second), http.StatusBadRequest, "invalid_grant")
		s.fails("the first, revoked", s.redeem(first), http.StatusBadRequest, "invalid_grant")
	}
}

// Of many clients that have one refresh token, one rotates it, and all of them
// have the same new one.
func TestTokenEndpointTogether(t *testing.T) {
	for range 10 { // not each time they get in each other's way
		redeemTogether(t, 50)
	}
}

func redeemTogether(t *testing.T, n int) {
	s := newSite(t)
	issued := s.rotating(token.ReuseRevoke)
	first := issued.Secret.Reveal()
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[string]int{}
	start := make(chan struct{})
	for range n {
		all.Go(func() {
			<-start
			a := s.redeem(first)
			mu.Lock()
			defer mu.Unlock()
			if a.status != http.StatusOK {
				t.Errorf("%d %s", a.status, a.body)
				return
			}
			got[s.next("one of many", a)]++
		})
	}
	close(start)
	all.Wait()
	if len(got) != 1 {
		t.Fatalf("%d at once got %d refresh tokens", n, len(got))
	}
	live := collect(t, s.root.List(t.Context(), token.Selector{Kind: token.Refresh, Owner: owner("alice")}))
	if len(live) != 1 || live[0].ID != issued.Token.ID {
		t.Errorf("there are %d live refresh tokens", len(live))
	}
	s.wait(time.Minute)
	for text := range got {
		s.next("the new one", s.redeem(text))
	}
}
