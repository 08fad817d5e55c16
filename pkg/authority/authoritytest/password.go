package authoritytest

import (
	"fmt"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var passwords = []rule{
	{"One's own needs the old one, and the first comes from an administrator", ownPassword},
	{"That of others is for administrators, who need no old one", othersPassword},
	{"The eleventh wrong old one in a row disables the account, and enabling it counts anew", wrongPasswords},
	{"What makes no password is refused", noPassword},
	{"A narrowed credential sets none", narrowedPassword},
}

var noSecret secret.Secret

const (
	firstPassword  = "correct horse battery"
	secondPassword = "staple of another horse"
)

func setPassword(s authority.Accounts, old, fresh string) error {
	return s.SetPassword(background, token.Owner{}, secret.FromText(old), secret.FromText(fresh))
}

// first gives somebody a password.
func (w *world) first(name string) {
	w.Helper()
	w.must(w.root.SetPassword(background, local(name), noSecret, secret.FromText(firstPassword)))
}

func ownPassword(w *world) {
	w.fails(setPassword(w.alice, "", firstPassword), token.ErrRefused) // a token alone must not become a password
	w.first("alice")
	a, err := w.root.Account(background, local("alice"))
	w.must(err)
	if !a.HasPassword || len(a.Password) > 0 {
		w.Errorf("the account is shown as %+v", a)
	}
	w.fails(setPassword(w.alice, "", secondPassword), token.ErrRefused)
	w.fails(setPassword(w.alice, secondPassword, secondPassword), token.ErrRefused)
	w.must(setPassword(w.alice, firstPassword, secondPassword))
	w.fails(setPassword(w.alice, firstPassword, secondPassword), token.ErrRefused)
	done := w.changes(func() { w.must(setPassword(w.alice, secondPassword, firstPassword)) })
	w.equal("the log", done, []string{"account.password"})
}

func othersPassword(w *world) {
	for _, s := range []authority.Service{w.bob, w.auditor} {
		w.fails(s.SetPassword(background, local("alice"), noSecret, secret.FromText(firstPassword)), token.ErrRefused)
	}
	w.must(w.admin.SetPassword(background, local("alice"), noSecret, secret.FromText(firstPassword)))
	w.must(w.root.SetPassword(background, local("alice"), noSecret, secret.FromText(secondPassword)))
	w.must(setPassword(w.alice, secondPassword, firstPassword))
	w.fails(w.admin.SetPassword(background, local("nobody"), noSecret, secret.FromText(firstPassword)), token.ErrNotFound)
	w.fails(w.admin.SetPassword(background, corp("alice"), noSecret, secret.FromText(firstPassword)), token.ErrUsage)
}

func wrongPasswords(w *world) {
	w.first("alice")
	wrong := func(n int) {
		w.Helper()
		for i := range n {
			w.fails(setPassword(w.alice, fmt.Sprintf("wrong old one %d", i), secondPassword), token.ErrRefused)
		}
	}
	disabled := func() bool {
		w.Helper()
		a, err := w.root.Account(background, local("alice"))
		w.must(err)
		return a.Disabled
	}
	wrong(10)
	w.must(setPassword(w.alice, firstPassword, secondPassword)) // a success counts anew
	wrong(10)
	if disabled() {
		w.Error("ten wrong ones disable the account")
	}
	wrong(1)
	if !disabled() {
		w.Error("eleven wrong ones leave the account enabled")
	}
	w.fails(setPassword(w.alice, secondPassword, firstPassword), token.ErrRefused)
	w.setAccount("alice", func(a *token.Account) { a.Disabled = false })
	wrong(10)
	w.must(setPassword(w.alice, secondPassword, firstPassword))
}

func noPassword(w *world) {
	for _, bad := range []string{"", "short", "alice", "local/alice", string(make([]byte, 2000))} {
		w.fails(setPassword(w.alice, "", bad), token.ErrUsage)
	}
}

func narrowedPassword(w *world) {
	w.fails(setPassword(w.narrowed("alice", "reader"), "", firstPassword), token.ErrRefused)
	w.fails(setPassword(w.narrowed("admin", token.Admin), "", firstPassword), token.ErrRefused)
}
