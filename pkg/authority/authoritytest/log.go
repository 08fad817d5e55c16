package authoritytest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var logging = []rule{
	{"Every change is in the log, with actor and owner", everyChange},
	{"What was refused or only looked at is not", noChange},
	{"The log can be searched", searchLog},
	{"The chain is whole, and no secret is in it", wholeLog},
}

var storage = []rule{
	{"Stats count", stats},
	{"Check finds a store whole after all that can be done to it", check},
	{"What has ended goes after the retention, and the log with it", maintain},
	{"Maintenance of what need not go changes nothing", maintainNothing},
}

// details are what the log must say of a change beside its object.
var details = map[string]string{
	"account.add": "person, no roles", "account.set": "person, no roles", "account.disable": "roles reader",
	"service.add": "enabled, plain15, realm local", "service.set": "enabled, strong", "service.disable": "disabled, strong", "service.enable": "enabled, strong",
	"connection.add": "urn:tokenctl:crm", "connection.set": "clients by client_secret_basic", "connection.secret": "the first one", "policy.set": "retention=100d",
}

func everyChange(w *world) {
	var i authority.Issued
	in := func(err error) { w.Helper(); w.must(err) }
	out := func(_ any, err error) { w.Helper(); w.must(err) }
	crm := token.NewConnection("crm")
	crm.AuthMethod = token.AuthBasic
	for _, c := range []struct {
		action       string
		actor, owner token.Owner
		object       string
		do           func()
	}{
		{"token.generate", local("alice"), local("bot"), "ci", func() { i = w.generate(w.alice, owned(named("ci"), "bot")) }},
		{"token.rotate", local("root"), local("bot"), "ci", func() { out(w.root.Rotate(background, ref(i), authority.Rotation{})) }},
		{"token.suspend", local("admin"), local("bot"), "ci", func() { in(w.admin.Suspend(background, refs(i), time.Time{})) }},
		{"token.resume", local("admin"), local("bot"), "ci", func() { in(w.admin.Resume(background, refs(i))) }},
		{"token.revoke", local("alice"), local("bot"), "ci", func() { in(w.alice.Revoke(background, refs(i), "reason why")) }},
		{"token.generate", local("bob"), local("bob"), "", func() { i = w.generate(w.bob, user()) }},
		{"token.take-back", local("bob"), local("bob"), "", func() { in(w.bob.TakeBack(background, ref(i))) }},
		{"token.generate", local("bob"), local("bob"), "", func() { i = w.generate(w.bob, user()) }},
		{"token.delete", local("root"), local("bob"), "", func() { in(w.root.Delete(background, refs(i))) }},
		{"token.generate", local("bob"), local("bob"), "", func() { i = w.generate(w.bob, user()) }},
		{"token.revoke", local("alice"), local("bob"), "", func() { out(w.alice.RevokeSecret(background, i.Secret, "reason why")) }},
		{"account.add", local("root"), corp("X"), "corp/X", func() { w.addAccount(token.Account{Owner: corp("X")}) }},
		{"account.set", local("admin"), corp("X"), "corp/X", func() { out(w.admin.SetAccount(background, token.Account{Owner: corp("X"), DisplayName: "x"})) }},
		{"account.disable", local("root"), local("bob"), "local/bob", func() { w.disable("bob") }},
		{"account.enable", local("root"), local("bob"), "local/bob", func() { w.setAccount("bob", func(a *token.Account) { a.Disabled = false }) }},
		{"connection.add", local("root"), token.Owner{}, "crm", func() { out(w.root.AddConnection(background, crm)) }},
		{"connection.set", local("admin"), token.Owner{}, "crm", func() { out(w.admin.SetConnection(background, crm)) }},
		{"connection.secret", local("admin"), token.Owner{}, "crm", func() {
			_, _, err := w.admin.RenewClientSecret(background, "crm")
			w.must(err)
		}},
		{"connection.delete", local("root"), token.Owner{}, "crm", func() { in(w.root.DeleteConnection(background, "crm")) }},
		{"service.add", local("root"), token.Owner{}, "imap", func() { w.addService("imap", token.Plain15) }},
		{"service.set", local("root"), token.Owner{}, "imap", func() { w.setService("imap", func(s *token.ServiceConfig) { s.TokenType = token.Strong }) }},
		{"token.generate", local("admin"), local("bob"), "imap", func() { i = w.generate(w.admin, owned(at("imap"), "bob")) }},
		{"token.rotate", local("root"), local("bob"), "imap", func() { out(w.root.Rotate(background, ref(i), authority.Rotation{})) }},
		{"token.revoke", local("bob"), local("bob"), "imap", func() { in(w.bob.Revoke(background, refs(i), "reason why")) }},
		{"service.disable", local("root"), token.Owner{}, "imap", func() { w.setService("imap", func(s *token.ServiceConfig) { s.Enabled = false }) }},
		{"service.enable", local("root"), token.Owner{}, "imap", func() { w.setService("imap", func(s *token.ServiceConfig) { s.Enabled = true }) }},
		{"service.delete", local("root"), token.Owner{}, "imap", func() { in(w.root.DeleteService(background, "imap")) }},
		{"policy.set", local("root"), token.Owner{}, "", func() { w.set(w.root, "retention", "100d") }},
	} {
		w.wait(time.Minute)
		before := len(w.actions(0))
		c.do()
		done := w.audit(audit.Filter{})[before:]
		if len(done) != 1 {
			w.Errorf("%s: the log says %+v", c.action, done)
			continue
		}
		e := done[0]
		w.equal(c.action, []any{e.Action, e.Actor, e.Owner, e.Object, e.Time}, []any{c.action, c.actor, c.owner, c.object, w.second()})
		if detail := details[c.action]; !strings.Contains(e.Detail, detail) {
			w.Errorf("%s has the detail %q, without %q", c.action, e.Detail, detail)
		}
		if about := strings.HasPrefix(c.action, "token."); about && (e.Token != i.Token.ID || e.Kind != i.Token.Kind.String()) || !about && !e.Token.IsZero() {
			w.Errorf("%s is about the token %s, a %s", c.action, e.Token, e.Kind)
		}
		if (c.action == "token.revoke") != (e.Reason == "reason why") {
			w.Errorf("%s has the reason %q", c.action, e.Reason)
		}
	}
	for _, do := range []func(){
		func() { out(w.root.RotateSigning(background, token.EdDSA)) },
		func() { out(w.root.RotateKeyFile(background)) },
		func() { in(w.root.DeleteAccount(background, corp("X"))) },
	} {
		if len(w.changes(do)) == 0 {
			w.Error("a change is not in the log")
		}
	}
}

func noChange(w *world) {
	i, r := w.generate(w.alice, user()), w.generate(w.alice, refresh())
	w.exchange(r.Secret) // which makes the keys
	w.unchanged("what was refused or only looked at", func() {
		w.accepts(i.Secret)
		w.exchange(r.Secret)
		w.list(w.root, token.Selector{})
		for _, err := range []error{
			last(w, w.root.ListAccounts(background, "", token.Owner{})),
			w.bob.Revoke(background, refs(i), ""),
			w.bob.Suspend(background, refs(i), time.Time{}),
			w.stranger().Delete(background, refs(i)),
			w.bob.TakeBack(background, ref(i)),
		} {
			if err != nil {
				w.fails(err, token.ErrRefused)
			}
		}
		_, err := w.bob.SetPolicy(background, map[string]string{"refresh_tokens": "everyone"})
		w.fails(err, token.ErrRefused)
		_, err = w.alice.Generate(background, user())
		w.fails(err, token.ErrConflict)
		_, err = w.root.Check(background, true)
		w.must(err)
	})
}

func searchLog(w *world) {
	begin := len(w.actions(0))
	w.wait(time.Hour)
	since := w.second()
	i := w.generate(w.alice, user())
	w.wait(time.Hour)
	w.generate(w.root, owned(user(), "bob"))
	w.wait(time.Hour)
	w.must(w.root.Revoke(background, refs(i), ""))
	for _, c := range []struct {
		what string
		f    audit.Filter
		want []string
	}{
		{"the actor", audit.Filter{Actor: local("alice")}, []string{"token.generate"}},
		{"the owner", audit.Filter{Owner: local("alice"), Action: "token."}, []string{"token.generate", "token.revoke"}},
		{"the token", audit.Filter{Token: i.Token.ID}, []string{"token.generate", "token.revoke"}},
		{"the action", audit.Filter{Action: "token.generate"}, []string{"token.generate", "token.generate"}},
		{"from a time", audit.Filter{Since: since}, []string{"token.generate", "token.generate", "token.revoke"}},
		{"until a time", audit.Filter{Since: since, Until: since.Add(2 * time.Hour)}, []string{"token.generate", "token.generate"}},
		{"until the first", audit.Filter{Since: since, Until: since}, nil},
		{"the last", audit.Filter{Last: 1}, []string{"token.revoke"}},
		{"the last but one of a kind", audit.Filter{Last: 1, Action: "token.generate"}, []string{"token.generate"}},
	} {
		var got []string
		for _, e := range w.audit(c.f) {
			got = append(got, e.Action)
		}
		w.equal(c.what, got, c.want)
	}
	all := w.audit(audit.Filter{})
	if len(all) != begin+3 {
		w.Errorf("the log has %d entries, want %d", len(all), begin+3)
	}
	for n, e := range all {
		if e.Seq != uint64(n)+1 || n > 0 && e.Time.Before(all[n-1].Time) {
			w.Errorf("entry %d is number %d, of %s", n, e.Seq, e.Time)
		}
	}
}

func wholeLog(w *world) {
	var secrets []secret.Secret
	for range 3 {
		i := w.generate(w.alice, refresh("reader"))
		again := w.rotate(i, authority.Rotation{})
		secrets = append(secrets, i.Secret, again.Secret, w.exchange(again.Secret).Text)
		_, err := w.root.RevokeSecret(background, again.Secret, "x")
		w.must(err)
	}
	for _, e := range w.audit(audit.Filter{}) {
		text := fmt.Sprintf("%+v %s", e, e.Line())
		if secret.Contains(text) || slices.ContainsFunc(secrets, func(s secret.Secret) bool { return strings.Contains(text, s.Reveal()) }) {
			w.Errorf("the log shows a secret: %s", e.Action)
		}
	}
	rep, err := w.auditor.VerifyAudit(background)
	w.must(err)
	if len(rep.Broken) > 0 || rep.Entries != len(w.audit(audit.Filter{})) || rep.Checkpoints != 0 || !rep.Last.Equal(w.second()) {
		w.Errorf("the log is %+v", rep)
	}
}

func stats(w *world) {
	w.some()
	w.addAccount(token.Account{Owner: corp("alice")})
	w.generate(w.root, token.Spec{Kind: token.User, Owner: corp("alice")})
	got, err := w.auditor.Stats(background)
	w.must(err)
	w.equal("the counts", got, authority.Stats{
		Tokens: 7, ByKind: map[string]int{"user": 3, "refresh": 4}, ByStatus: map[string]int{"active": 4, "suspended": 1, "expired": 1, "revoked": 1},
		ByRealm: map[string]int{"local": 6, "corp": 1}, Accounts: 7, Connections: 2, AuditLength: got.AuditLength,
	})
	if n := len(w.actions(0)); got.AuditLength < n {
		w.Errorf("the log has %d entries, counted are %d", n, got.AuditLength)
	}
}

func check(w *world) {
	all := w.some()
	w.use(all[0].Secret, "")
	w.rotate(all[0], authority.Rotation{Grace: time.Hour})
	w.must(w.root.Delete(background, refs(all[1])))
	w.exchange(all[5].Secret)
	// Successors of what has ended, that end as well.
	for range 2 {
		next := w.generate(w.alice, lasting(named("short"), time.Second))
		w.wait(time.Second)
		w.must(w.alice.Revoke(background, refs(next), ""))
	}
	w.must(w.root.DeleteAccount(background, local("bob")))
	for _, deep := range []bool{false, true} {
		got, err := w.auditor.Check(background, deep)
		w.must(err)
		want := authority.CheckReport{Tokens: 7, Problems: []string{}}
		if deep {
			want.Audit = len(w.actions(0))
			if got.Indexes < got.Tokens {
				w.Errorf("%d entries of indexes of %d tokens", got.Indexes, got.Tokens)
			}
			want.Indexes = got.Indexes
		}
		w.equal("the report", got, want)
	}
}

// maintain does all of what a server does from time to time.
func (w *world) maintain() {
	w.Helper()
	for more := true; more; {
		var err error
		more, err = w.Maintain(background)
		w.must(err)
	}
}

func maintain(w *world) {
	w.until(w.second())
	w.set(w.root, "retention", "30d")
	forever, suspended := w.generate(w.alice, user()), w.generate(w.alice, lasting(refresh(), 365*token.Day))
	w.must(w.alice.Suspend(background, refs(suspended), time.Time{}))
	expired, revoked := w.generate(w.alice, lasting(refresh(), time.Hour)), w.generate(w.alice, refresh())
	w.wait(time.Hour)
	w.must(w.alice.Revoke(background, refs(revoked), ""))
	young := w.generate(w.alice, lasting(refresh(), time.Second))

	w.wait(30 * token.Day)
	w.maintain() // kept for 30 days, not a second less
	w.get(expired.Token.ID)
	w.get(revoked.Token.ID)
	w.wait(time.Second)
	w.maintain()
	w.gone(expired.Token.ID)
	w.gone(revoked.Token.ID)
	w.get(young.Token.ID)
	w.accepts(forever.Secret)
	w.refuses(suspended.Secret, authority.TokenSuspended)

	log := w.audit(audit.Filter{})
	if first := log[0]; first.Time.Before(w.second().Add(-30 * token.Day)) {
		w.Errorf("the log begins with %s of %s", first.Action, first.Time)
	}
	for _, id := range []token.ID{expired.Token.ID, revoked.Token.ID} {
		if !slices.ContainsFunc(log, func(e audit.Entry) bool {
			return e.Action == "token.forget" && e.Token == id && e.Owner == local("alice")
		}) {
			w.Errorf("the log does not say that %s is gone", id)
		}
	}
	rep, err := w.root.Check(background, true)
	if err != nil || len(rep.Problems) > 0 || rep.Tokens != 3 {
		w.Errorf("the store is %+v, %v", rep, err)
	}
	if v, err := w.root.VerifyAudit(background); err != nil || len(v.Broken) > 0 || v.Checkpoints != 1 {
		w.Errorf("the log is %+v, %v", v, err)
	}
	w.wait(token.Day)
	w.maintain()
	w.gone(young.Token.ID)
	w.accepts(forever.Secret)
}

func maintainNothing(w *world) {
	w.some()
	w.wait(token.Day)
	w.unchanged("maintenance", func() { w.maintain() })
	w.wait(1000 * token.Day)
	w.maintain()
	if rep, err := w.root.VerifyAudit(background); err != nil || len(rep.Broken) > 0 {
		w.Errorf("the log is %+v, %v", rep, err)
	}
	w.generate(w.alice, refresh()) // the log goes on
}
