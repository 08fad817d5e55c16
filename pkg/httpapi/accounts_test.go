package httpapi_test

import (
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
	for _, body := range []string{`{"status":"on"}`, `{"status":""}`, `{"kind":"robot"}`, `{"roles":["two words"]}`, `{"steward":"local/bot"}`, `{"nickname":"x"}`} {
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
