package authoritytest

import (
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var listing = []rule{
	{"Get shows a token as List does, and neither shows a verifier", getAndList},
	{"A token that is not there is not found", getMissing},
	{"List goes in the order of making, without what has ended", listOrder},
	{"List chooses", listSelectors},
	{"The body of a List may use the service", listBody},
	{"A List may be left and begun again", listAgain},
	{"A selector that makes no sense is the only thing that is said", listNonsense},
}

func getAndList(w *world) {
	i := w.generate(w.alice, user())
	w.use(i.Secret, "192.0.2.1")
	w.rotate(i, authority.Rotation{Grace: time.Hour})
	w.rotate(i, authority.Rotation{Grace: time.Hour})
	got := w.get(i.Token.ID)
	w.equal("the list of all", w.list(w.root, token.Selector{}), []token.Token{got})
	w.equal("the owner's list", w.list(w.alice, token.Selector{Owner: local("alice")}), []token.Token{got})
	if got.Verifier != nil || got.Previous != nil || got.Undo != nil {
		w.Error("a verifier is shown")
	}
	w.equal("the last use", got.LastUsedFrom, "192.0.2.1")
}

func getMissing(w *world) {
	i := w.generate(w.alice, user())
	id := i.Token.ID
	id[9] ^= 1
	for _, s := range []authority.Service{w.root, w.alice} {
		_, err := s.Get(background, id)
		w.fails(err, token.ErrNotFound)
		_, err = s.Rotate(background, token.Ref{ID: id}, authority.Rotation{})
		w.fails(err, token.ErrNotFound)
		w.fails(s.TakeBack(background, token.Ref{ID: id, Revision: 1}), token.ErrNotFound)
		w.fails(s.Revoke(background, []token.Ref{{ID: id}}, ""), token.ErrNotFound)
		w.fails(s.Suspend(background, []token.Ref{{ID: id}}, time.Time{}), token.ErrNotFound)
		w.fails(s.Resume(background, []token.Ref{{ID: id}}), token.ErrNotFound)
		w.fails(s.Delete(background, []token.Ref{{ID: id}}), token.ErrNotFound)
	}
}

// some are tokens of alice and bob, a minute apart: a user token of each, and
// refresh tokens of alice's, one suspended, one expired, one revoked.
func (w *world) some() []authority.Issued {
	var all []authority.Issued
	add := func(s authority.Service, spec token.Spec) {
		all = append(all, w.generate(s, spec))
		w.wait(time.Minute)
	}
	add(w.alice, user())
	add(w.bob, user())
	add(w.alice, named("ci"))
	add(w.alice, named("ci-old"))
	add(w.alice, lasting(named("short"), time.Second))
	add(w.root, owned(refresh("reader"), "alice"))
	w.must(w.alice.Suspend(background, refs(all[2]), time.Time{}))
	w.must(w.alice.Revoke(background, refs(all[3]), ""))
	return all
}

func listOrder(w *world) {
	all := w.some()
	var order []token.ID
	for _, i := range all {
		order = append(order, i.Token.ID)
	}
	w.equal("all, also what has ended", ids(w.list(w.root, token.Selector{Ended: true})), order)
	w.equal("the live ones", ids(w.list(w.root, token.Selector{})), []token.ID{order[0], order[1], order[2], order[5]})
	w.equal("alice's", ids(w.list(w.alice, token.Selector{Owner: local("alice"), Ended: true})), slices.Delete(slices.Clone(order), 1, 2))
	w.equal("nobody's", len(w.list(w.root, token.Selector{Owner: local("nobody")})), 0)
}

func listSelectors(w *world) {
	all := w.some()
	w.use(all[5].Secret, "")
	for _, c := range []struct {
		what string
		s    token.Selector
		want []int
	}{
		{"kind", token.Selector{Kind: token.User}, []int{0, 1}},
		{"owner and kind", token.Selector{Owner: local("alice"), Kind: token.User}, []int{0}},
		{"realm", token.Selector{Realm: "local"}, []int{0, 1, 2, 5}},
		{"another realm", token.Selector{Realm: "corp"}, nil},
		{"suspended", token.Selector{Status: token.Suspended}, []int{2}},
		{"expired", token.Selector{Status: token.Expired}, []int{4}},
		{"revoked", token.Selector{Status: token.Revoked}, []int{3}},
		{"name", token.Selector{Name: "ci*", Ended: true}, []int{2, 3}},
		{"role", token.Selector{Role: "reader"}, []int{5}},
		{"connection", token.Selector{Connection: "default"}, []int{2, 5}},
		{"made from", token.Selector{CreatedAfter: all[1].Token.CreatedAt}, []int{1, 2, 5}},
		{"made from a moment later", token.Selector{CreatedAfter: all[1].Token.CreatedAt.Add(1)}, []int{2, 5}},
		{"made before", token.Selector{CreatedBefore: all[1].Token.CreatedAt}, []int{0}},
		{"made between", token.Selector{CreatedAfter: all[1].Token.CreatedAt, CreatedBefore: all[5].Token.CreatedAt, Ended: true}, []int{1, 2, 3, 4}},
		{"an owner's, made between", token.Selector{Owner: local("alice"), CreatedAfter: all[1].Token.CreatedAt, CreatedBefore: all[5].Token.CreatedAt, Ended: true}, []int{2, 3, 4}},
		{"expires soon", token.Selector{ExpiresBefore: w.now().Add(8 * token.Day)}, []int{2, 5}},
		{"never used", token.Selector{NeverUsed: true, Kind: token.Refresh}, []int{2}},
		{"unused for long", token.Selector{UnusedSince: all[2].Token.CreatedAt}, []int{0, 1}},
	} {
		var want []token.ID
		for _, n := range c.want {
			want = append(want, all[n].Token.ID)
		}
		w.equal(c.what, ids(w.list(w.root, c.s)), want)
	}
}

func listBody(w *world) {
	w.some()
	n := 0
	for t, err := range w.root.List(background, token.Selector{}) {
		w.must(err)
		w.must(w.root.Revoke(background, []token.Ref{t.Ref()}, "one by one"))
		w.equal("the token in the loop", w.get(t.ID).Status, token.Revoked)
		w.generate(w.root, owned(refresh(), "bot"))
		n++
	}
	if n < 4 {
		w.Errorf("the loop ran %d times", n)
	}
}

func listAgain(w *world) {
	all := w.some()
	list := w.root.List(background, token.Selector{Ended: true})
	for stop := range len(all) {
		n := 0
		for t, err := range list {
			w.must(err)
			w.equal("a token", t.ID, all[n].Token.ID)
			if n++; n > stop {
				break
			}
		}
	}
}

func listNonsense(w *world) {
	w.some()
	for _, sel := range []token.Selector{{Name: "["}, {CreatedAfter: w.now(), CreatedBefore: w.now()}} {
		n := 0
		for t, err := range w.root.List(background, sel) {
			n++
			w.fails(err, token.ErrUsage)
			w.equal("what comes with the error", t, token.Token{})
		}
		w.equal("the count", n, 1)
	}
}
