package render_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const theSecret = "s3cr3tS3cr3tS3c"

func issued(k token.Kind) authority.Issued {
	i := authority.Issued{Token: userToken(), Secret: secret.FromText(theSecret)}
	i.Token.Kind = k
	return i
}

func TestIssued(t *testing.T) {
	id := id1.String()
	for _, test := range []struct {
		kind              token.Kind
		raw, lines, after string
	}{
		{token.User, id + ":" + theSecret, "User code: " + id + "\nPasscode:  " + theSecret + "\n", `"user_code":"` + id + `","pass_code":"` + theSecret + `"}`},
		{token.Service, theSecret, "Password: " + theSecret + "\n", `"password":"` + theSecret + `"}`},
		{token.Refresh, theSecret, "Refresh token: " + theSecret + "\n", `"refresh_token":"` + theSecret + `"}`},
	} {
		v := issued(test.kind)
		object := strings.TrimSuffix(one(t, render.Options{Format: render.JSON}, render.Tokens(), v.Token), "}\n")
		for format, want := range map[render.Format]string{
			render.Raw: test.raw + "\n", render.Table: test.lines, render.JSON: object + "," + test.after + "\n",
		} {
			if diff := cmp.Diff(want, one(t, render.Options{Format: format}, render.Issued(), v)); diff != "" {
				t.Errorf("%s as %s: %s", test.kind, format, diff)
			}
		}
	}
	text := stream(t, render.Options{Format: render.CSV}, render.Issued(), issued(token.User), issued(token.Service), issued(token.Refresh))
	lines := strings.Split(text, "\n")
	for i, end := range []string{",user_code,pass_code,password,refresh_token", "," + id + "," + theSecret + ",,", ",,," + theSecret + ",", ",,,," + theSecret} {
		if !strings.HasSuffix(lines[i], end) {
			t.Errorf("line %d of CSV does not end in %q: %s", i, end, lines[i])
		}
	}
	table := stream(t, render.Options{}, render.Issued(), issued(token.User), issued(token.Service))
	if !strings.Contains(table, id+":"+theSecret) || strings.Count(table, theSecret) != 2 {
		t.Errorf("list of issued tokens:\n%s", table)
	}
	// A name would be a live token whose secret nobody saw.
	wantUsage(t, render.Check(render.Options{Format: render.Name}, render.Issued()), `"name"`)
	if err := render.Check(render.Options{Format: render.Raw}, render.Issued()); err != nil {
		t.Error(err)
	}
}

func accessToken() authority.AccessToken {
	return authority.AccessToken{Text: secret.FromText("ey.J.w"), ExpiresIn: time.Hour, Roles: []token.Role{"a", "b"}}
}

func TestAccessToken(t *testing.T) {
	v := accessToken()
	for format, want := range map[render.Format]string{
		render.JSON:  `{"access_token":"ey.J.w","token_type":"Bearer","expires_in":3600,"scope":"a b"}` + "\n",
		render.Raw:   "ey.J.w\n",
		render.Table: "ey.J.w\n",
		render.YAML:  "access_token: ey.J.w\ntoken_type: Bearer\nexpires_in: 3600\nscope: a b\n",
	} {
		if diff := cmp.Diff(want, one(t, render.Options{Format: format}, render.AccessTokens(), v)); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	v.Roles = nil
	want := `{"access_token":"ey.J.w","token_type":"Bearer","expires_in":3600}` + "\n"
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.JSON}, render.AccessTokens(), v)); diff != "" {
		t.Error(diff)
	}
}

func TestVerdict(t *testing.T) {
	yes := render.Verdict{Valid: true, Identity: token.Identity{Kind: token.Refresh, ID: id1, Owner: alice, Roles: []token.Role{"a"}, ExpiresAt: now.Add(time.Hour)}}
	no := render.Verdict{Identity: yes.Identity} // of which nothing may be seen
	for _, test := range []struct {
		v           render.Verdict
		json, lines string
	}{
		{
			yes, `{"valid":true,"kind":"refresh","id":"` + id1.String() + `","owner":"ldap/alice","roles":["a"],"expires_at":"2026-11-22T08:00:00Z"}` + "\n",
			"Valid:   yes\nOwner:   ldap/alice\nRoles:   a\nKind:    refresh\nID:      " + id1.String() + "\nExpires: in 1 hour (2026-11-22T08:00:00Z)\n",
		},
		{no, `{"valid":false}` + "\n", "Valid: no\n"},
	} {
		if diff := cmp.Diff(test.json, one(t, render.Options{Format: render.JSON}, render.Verdicts(), test.v)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(test.lines, one(t, render.Options{}, render.Verdicts(), test.v)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestExplanation(t *testing.T) {
	v := userToken()
	e := authority.Explanation{Reason: authority.TokenRevoked, Text: "revoked by ldap/alice", Token: &v}
	object := strings.TrimSpace(one(t, render.Options{Format: render.JSON}, render.Tokens(), v))
	want := `{"accepted":false,"reason":"revoked","explanation":"revoked by ldap/alice","token":` + object + "}\n"
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.JSON}, render.Explanations(), e)); diff != "" {
		t.Error(diff)
	}
	lines := one(t, render.Options{}, render.Explanations(), e)
	for _, want := range []string{"Accepted:    no\n", "Reason:      revoked\n", "Name:        N/A\n", "Expires:     never\n", "Created:     1 hour ago (2026-11-22T06:00:00Z)\n"} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, lines)
		}
	}
	e = authority.Explanation{Reason: authority.Malformed, Text: "not a token of ours"}
	if diff := cmp.Diff("Accepted:    no\nReason:      malformed\nExplanation: not a token of ours\n", one(t, render.Options{}, render.Explanations(), e)); diff != "" {
		t.Error(diff)
	}
	want = `{"accepted":false,"reason":"malformed","explanation":"not a token of ours","token":null}` + "\n"
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.JSON}, render.Explanations(), e)); diff != "" {
		t.Error(diff)
	}
}

func TestClientSecrets(t *testing.T) {
	v := render.ClientSecret{Connection: token.NewConnection("web"), Secret: secret.FromText(theSecret)}
	v.Connection.SecretSince = now
	object := strings.TrimSuffix(one(t, render.Options{Format: render.JSON}, render.Connections(), v.Connection), "}\n")
	for format, want := range map[render.Format]string{
		render.Raw: theSecret + "\n", render.Table: "Client ID:     web\nClient secret: " + theSecret + "\n",
		render.JSON: object + `,"client_secret":"` + theSecret + `"}` + "\n",
	} {
		if diff := cmp.Diff(want, one(t, render.Options{Format: format}, render.ClientSecrets(), v)); diff != "" {
			t.Errorf("as %s: %s", format, diff)
		}
	}
	wantUsage(t, render.Check(render.Options{Format: render.Name}, render.ClientSecrets()), `"name"`)
}

func TestOtherKindsInJSON(t *testing.T) {
	o := render.Options{Format: render.JSON}
	connection := token.NewConnection("web")
	connection.CreatedAt, connection.Roles = now, []token.Role{"a"}
	for _, test := range []struct{ got, want string }{
		{
			one(t, o, render.Accounts(), token.Account{Owner: alice, Kind: token.ServiceAccount, Steward: root, Disabled: true, CreatedAt: now, CreatedBy: root}),
			`{"owner":"ldap/alice","kind":"service","display_name":null,"roles":[],"steward":"local/root","status":"disabled","created_at":"2026-11-22T07:00:00Z","created_by":"local/root","entry_id":null,"directory_roles":[],"roles_at":null,"has_password":false,"identities":[]}`,
		},
		{
			one(t, o, render.Accounts(), token.Account{Owner: alice, Kind: token.Person, DisplayName: "Alice", Roles: []token.Role{"a"}}),
			`{"owner":"ldap/alice","kind":"person","display_name":"Alice","roles":["a"],"steward":null,"status":"active","created_at":null,"created_by":null,"entry_id":null,"directory_roles":[],"roles_at":null,"has_password":false,"identities":[]}`,
		},
		{
			one(t, o, render.Connections(), connection),
			`{"name":"web","entity_id":"urn:tokenctl:web","access_lifetime":"1h","role_claim":"urn:identify:rest-api:role","roles":["a"],"algorithm":"EdDSA","rotate":false,"reuse":"revoke","retry_window":"30s","auth_method":"none","secret_since":null,"created_at":"2026-11-22T07:00:00Z"}`,
		},
		{
			one(t, o, render.Keys(), authority.Key{Use: "file", ID: "1", State: "active", CreatedAt: now}),
			`{"use":"file","id":"1","algorithm":null,"state":"active","created_at":"2026-11-22T07:00:00Z","expires_at":null}`,
		},
		{
			one(t, o, render.Identities(), token.Identity{Owner: root, Roles: []token.Role{token.Admin}}),
			`{"owner":"local/root","kind":null,"id":null,"roles":["tokenctl:admin"],"service":null,"connection":null,"expires_at":null}`,
		},
	} {
		if diff := cmp.Diff(test.want+"\n", test.got); diff != "" {
			t.Error(diff)
		}
	}
	for kind, want := range map[token.Kind]string{token.Access: `"access"`, 9: `"kind-9"`} { // 9 is of a newer server
		if got := one(t, o, render.Identities(), token.Identity{Owner: root, Kind: kind}); !strings.Contains(got, `"kind":`+want) {
			t.Errorf("kind %d: %s", kind, got)
		}
	}
	if diff := cmp.Diff("Owner: local/root\nRoles: tokenctl:admin\n", one(t, render.Options{}, render.Identities(), token.Identity{Owner: root, Roles: []token.Role{token.Admin}})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("ldap/alice\n", one(t, render.Options{Format: render.Raw}, render.Accounts(), token.Account{Owner: alice})); diff != "" {
		t.Error(diff)
	}
}

func TestPolicy(t *testing.T) {
	policy := func(o render.Options) string {
		t.Helper()
		var b strings.Builder
		if err := render.Policy(t.Context(), &b, o, token.DefaultPolicy()); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	var object map[string]string
	if err := json.Unmarshal([]byte(policy(render.Options{Format: render.JSON})), &object); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	p := token.DefaultPolicy()
	for _, f := range token.PolicyFields() {
		want[f.Name] = f.Get(&p)
	}
	if diff := cmp.Diff(want, object); diff != "" {
		t.Error(diff)
	}
	var fromYAML map[string]string
	if err := yaml.Unmarshal([]byte(policy(render.Options{Format: render.YAML})), &fromYAML); err != nil || !cmp.Equal(want, fromYAML) {
		t.Errorf("%v, %v", fromYAML, err)
	}
	for _, test := range []struct {
		o    render.Options
		want string
	}{
		{render.Options{}, "NAME                        VALUE                  DESCRIPTION\naccess_token_max_lifetime   1d                     longest life of an access token\n"},
		{render.Options{Format: render.CSV}, "name,value,description\naccess_token_max_lifetime,1d,longest life of an access token\n"},
		{render.Options{Format: render.Name}, "access_token_max_lifetime\n"},
		{render.Options{JQ: ".issuer"}, "http://127.0.0.1:8470\n"},
		{render.Options{Format: "template={{.retention}}"}, "400d\n"},
	} {
		if got := policy(test.o); !strings.HasPrefix(got, test.want) {
			t.Errorf("%+v:\n%s", test.o, got)
		}
	}
}

func TestObject(t *testing.T) {
	stats := authority.Stats{
		Tokens: 3, ByKind: map[string]int{"user": 1, "refresh": 2}, ByStatus: map[string]int{},
		ByRealm: map[string]int{"evil\x1b[2J": 3}, AuditLength: 7,
	}
	for format, want := range map[render.Format]string{
		render.Table: "Tokens:        3\nBy kind:\n  refresh:     2\n  user:        1\nBy status:\nBy realm:\n  evil[2J:     3\nAccounts:      0\nConnections:   0\nAudit entries: 7\n",
		render.JSON:  `{"tokens":3,"by_kind":{"refresh":2,"user":1},"by_status":{},"by_realm":{"evil\u001b[2J":3},"accounts":0,"connections":0,"audit_entries":7}` + "\n",
		render.YAML:  "tokens: 3\nby_kind:\n  refresh: 2\n  user: 1\nby_status: {}\nby_realm:\n  \"evil\\e[2J\": 3\naccounts: 0\nconnections: 0\naudit_entries: 7\n",
		render.CSV: "tokens,by_kind,by_status,by_realm,accounts,connections,audit_entries\n" +
			`3,"{""refresh"":2,""user"":1}",{},"{""evil\u001b[2J"":3}",0,0,7` + "\n",
	} {
		if diff := cmp.Diff(want, one(t, render.Options{Format: format}, render.Object[authority.Stats](), stats)); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	report := authority.CheckReport{Tokens: 3, Problems: []string{"index \x9b\x7f\u202e\u009b lost", "<two>"}}
	want := "Tokens:        3\nIndex entries: 0\nAudit entries: 0\nProblems:\n  index \uFFFD lost\n  <two>\n"
	if diff := cmp.Diff(want, one(t, render.Options{}, render.Object[authority.CheckReport](), report)); diff != "" {
		t.Error(diff)
	}
	want = `{"tokens":3,"index_entries":0,"audit_entries":0,"problems":["index \ufffd\u007f\u202e\u009b lost","<two>"]}` + "\n"
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.JSON}, render.Object[authority.CheckReport](), report)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("Text: ab\n", one(t, render.Options{}, render.Object[struct{ Text string }](), struct{ Text string }{"a\u202eb"})); diff != "" {
		t.Error(diff)
	}
	names := map[string]int{"a,\"b\"\u202e": 1}
	for format, want := range map[render.Format]string{
		render.JSON: `{"a,\"b\"\u202e":1}` + "\n", render.Table: "A,\"b\": 1\n", render.YAML: `"a,\"b\"\u202e": 1` + "\n",
	} {
		if diff := cmp.Diff(want, one(t, render.Options{Format: format}, render.Object[map[string]int](), names)); diff != "" {
			t.Errorf("%s: %s", format, diff)
		}
	}
	if got := one(t, render.Options{Format: render.JSON}, render.Object[map[string]int](), nil); got != "{}\n" {
		t.Errorf("nil map: %s", got)
	}
	report.Problems = []string{}
	if text := one(t, render.Options{}, render.Object[authority.CheckReport](), report); !strings.HasSuffix(text, "Problems:      -\n") {
		t.Error(text)
	}
}

func TestError(t *testing.T) {
	for _, test := range []struct {
		o    render.Options
		f    render.Failure
		want string
	}{
		{render.Options{}, render.Failure{Exit: 4, Message: "no such\ntoken \x1b[31m", Hint: "try\u202e\tlist"}, "tokenctl: no such token [31m\nhint: try list\n"},
		{render.Options{Format: render.YAML}, render.Failure{Exit: 1, Message: "no"}, "tokenctl: no\n"},
		{render.Options{Format: render.JSON}, render.Failure{Exit: 5, Message: `"x" exists`, Hint: "rotate it"}, `{"error":{"code":"conflict","message":"\"x\" exists","hint":"rotate it","exit":5}}` + "\n"},
		{render.Options{Format: render.JSONL}, render.Failure{Exit: 3, Message: "no"}, `{"error":{"code":"refused","message":"no","hint":null,"exit":3}}` + "\n"},
		{render.Options{JQ: ".id"}, render.Failure{Exit: 9, Message: "no"}, `{"error":{"code":"exit_9","message":"no","hint":null,"exit":9}}` + "\n"},
	} {
		var b strings.Builder
		if err := render.Error(&b, test.o, test.f); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(test.want, b.String()); diff != "" {
			t.Error(diff)
		}
	}
	got := map[int]string{}
	for _, exit := range []int{1, 2, 3, 4, 5, 6, 7, 70, 130} {
		got[exit] = render.Failure{Exit: exit}.Code()
	}
	want := map[int]string{1: "failed", 2: "usage", 3: "refused", 4: "not_found", 5: "conflict", 6: "cannot_tell", 7: "unsafe", 70: "bug", 130: "interrupted"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
