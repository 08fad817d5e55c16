package httpapi_test

import (
	"fmt"
	"sync"
	"testing"
)

// A PUT changes what it says: who only sets a name does not take roles away, and
// enables nobody.
func TestAccountPut(t *testing.T) {
	a, _, _ := newPost(t)
	a.wants(a.ask("POST", "/api/v1/accounts", `{"owner":"local/alice","display_name":"Alice","roles":["deploy"]}`), 201, "")
	a.wants(a.ask("POST", "/api/v1/accounts", `{"owner":"local/bot","kind":"service","steward":"local/alice"}`), 201, "")
	const path = "/api/v1/accounts/local/alice"
	a.wants(a.ask("PUT", path, `{"status":"disabled","revision":1}`), 200, "")
	a.wants(a.ask("PUT", path, `{"revision":1}`), 409, "conflict")
	a.wants(a.ask("PUT", path, `{"owner":"local/bot"}`), 400, "usage")
	for _, body := range []string{`{"status":"on"}`, `{"status":""}`, `{"kind":"robot"}`, `{"roles":["two words"]}`, `{"steward":"local/bot"}`, `{"nickname":"x"}`,
		``, `null`, `[]`, `{"roles":null}`, `{"kind":null}`, `{"status":null}`, `{"display_name":7}`,
	} {
		a.wants(a.ask("PUT", path, body), 400, "usage")
	}
	for i, body := range []string{`{}`, `{"owner":"local/ALICE","kind":"person"}`, `{"display_name":"Alice Example"}`, `{"owner":"","revision":0}`} {
		set := a.ask("PUT", path, body)
		a.wants(set, 200, "")
		if set.body["status"] != "disabled" || len(set.body["roles"].([]any)) != 1 || set.body["revision"] != float64(3+i) {
			t.Errorf("after %s: %s", body, set.text)
		}
	}
	if set := a.ask("PUT", "/api/v1/accounts/local/ALICE", `{"roles":[],"display_name":null,"status":"active"}`); set.StatusCode != 200 ||
		set.body["status"] != "active" || len(set.body["roles"].([]any)) != 0 || set.body["display_name"] != nil {
		t.Errorf("when all is taken away: %s", set.text)
	}
	if bot := a.ask("PUT", "/api/v1/accounts/local/bot", `{"display_name":"Bot"}`); bot.StatusCode != 200 || bot.body["kind"] != "service" || bot.body["steward"] != "local/alice" {
		t.Errorf("the service account is %s", bot.text)
	}
}

// Clients that change different fields at once, and do not say what they have
// seen, neither undo each other's changes nor are told of them.
func TestPutTogether(t *testing.T) {
	a, _, _ := newPost(t)
	a.wants(a.ask("POST", "/api/v1/connections", `{"name":"crm"}`), 201, "")
	var all sync.WaitGroup
	for _, body := range []string{`{"entity_id":"urn:%d"}`, `{"role_claim":"c%d"}`, `{"retry_window":"%ds"}`} {
		all.Go(func() {
			for i := range 10 {
				a.wants(a.ask("PUT", "/api/v1/connections/crm", fmt.Sprintf(body, i+1)), 200, "")
			}
		})
	}
	all.Wait()
	got := a.ask("GET", "/api/v1/connections/crm", "").body
	if got["entity_id"] != "urn:10" || got["role_claim"] != "c10" || got["retry_window"] != "10s" || got["revision"] != 31.0 {
		t.Errorf("it is %v", got)
	}
}
