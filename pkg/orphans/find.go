package orphans

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Find implements [Service].
func (l *Local) Find(ctx context.Context, q Query) (Plan, error) {
	if err := l.mayPurge(ctx); err != nil {
		return Plan{}, err
	}
	dirs, err := l.directories(q.Realm)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{TakenAt: l.Now().UTC().Truncate(time.Second), Realms: []Realm{}, Orphans: []Orphan{}, Stewardless: []Stewardless{}}
	for _, d := range dirs {
		r, absent, err := l.survey(ctx, d, q.Progress)
		if err != nil {
			return Plan{}, err
		}
		p.Realms = append(p.Realms, r)
		for _, v := range absent {
			o, err := l.orphan(ctx, v)
			if err != nil {
				return Plan{}, err
			}
			if len(o.Tokens) > 0 { // else they have ended since
				p.Orphans = append(p.Orphans, o)
			}
		}
	}
	if p.Stewardless, err = l.stewardless(ctx, q.Realm); err != nil {
		return Plan{}, err
	}
	return p, p.seal()
}

// survey asks a directory about all owners of its realm who have tokens, but
// for service accounts: these live as long as somebody answers for them.
func (l *Local) survey(ctx context.Context, d directory.Directory, progress func(int)) (Realm, []directory.Verdict, error) {
	policy, err := l.service.Policy(ctx)
	if err != nil {
		return Realm{}, nil, err
	}
	switch _, err := l.service.Provider(ctx, d.Realm()); {
	case err == nil: // whose people no directory knows
		return Realm{}, nil, token.Errorf(token.ErrCannotTell, "%q is a directory and an identity provider: nobody can say who is meant", d.Realm()).
			WithHint("name the directory otherwise in the config file")
	case !errors.Is(err, token.ErrNotFound):
		return Realm{}, nil, err
	}
	f, err := directory.Survey(ctx, d, func(yield func(directory.Known, error) bool) {
		for a, err := range store.WalkOwners(ctx, l.Store, d.Realm(), l.Now()) {
			if err == nil && a.Kind == token.ServiceAccount {
				continue
			}
			if progress != nil && err == nil {
				progress(1)
			}
			if !yield(directory.Known{Owner: a.Owner, EntryID: a.EntryID}, err) {
				return
			}
		}
	})
	if err != nil {
		return Realm{}, nil, err
	}
	if len(f.Doubts) > 0 {
		return Realm{}, nil, doubtful(d, f)
	}
	r := Realm{
		Name: d.Realm(), Asked: f.Asked, Present: f.Present, Disabled: f.Disabled,
		Orphans: len(f.Absent), Limit: limitOf(f.Asked, policy.PurgeBreaker),
	}
	return r, f.Absent, nil
}

// doubtsNamed is how many of those in doubt an error names.
const doubtsNamed = 3

func doubtful(d directory.Directory, f directory.Findings) error {
	var named []string
	for _, v := range f.Doubts[:min(doubtsNamed, len(f.Doubts))] {
		named = append(named, fmt.Sprintf("%s (%s)", v.Owner, v.Why))
	}
	if more := len(f.Doubts) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("%d more", more))
	}
	return token.Errorf(token.ErrCannotTell, "the directory %s leaves %d of the %d owners in doubt: %s; nothing was removed", d.Realm(), len(f.Doubts), f.Asked, strings.Join(named, ", ")).
		WithHint("tokenctl admin directory test USER shows what the directory says of one of them")
}

// orphan is what would be removed of an owner.
func (l *Local) orphan(ctx context.Context, v directory.Verdict) (Orphan, error) {
	o := Orphan{Owner: v.Owner, Why: plain(v.Why), Tokens: []Token{}}
	now := l.Now()
	for t, err := range store.WalkOwner(ctx, l.Store, v.Owner, token.ID{}) {
		if err != nil {
			return o, err
		}
		if !t.Live(now) {
			continue
		}
		name := t.Name
		if t.Kind == token.Service {
			name = t.Service
		}
		o.Tokens = append(o.Tokens, Token{ID: t.ID, Revision: t.Revision, Kind: t.Kind.String(), Name: name})
	}
	return o, nil
}

// stewardless finds the service accounts whose steward is gone: has no account
// any more, has a disabled one, or is not in the directory. A realm, if it is
// named, is the steward's.
func (l *Local) stewardless(ctx context.Context, realm string) ([]Stewardless, error) {
	found := []Stewardless{}
	for batch, err := range batches(store.Accounts.Pages(ctx, l.Store)) {
		if err != nil {
			return nil, err
		}
		var served []Stewardless
		for _, a := range batch {
			if a.Kind == token.ServiceAccount && (realm == "" || a.Steward.Realm == realm) {
				served = append(served, Stewardless{Account: a.Owner, Steward: a.Steward})
			}
		}
		if err := l.judgeStewards(ctx, served); err != nil {
			return nil, err
		}
		for _, s := range served {
			if s.Why != "" {
				found = append(found, s)
			}
		}
	}
	return found, nil
}

// judgeStewards fills in why stewards are gone.
func (l *Local) judgeStewards(ctx context.Context, served []Stewardless) error {
	byRealm := map[string][]*Stewardless{}
	known := map[token.Owner]directory.Known{}
	err := l.Store.View(ctx, func(r store.Reader) error {
		for i := range served {
			s := &served[i]
			a, err := store.Accounts.Get(r, s.Steward.Realm, s.Steward.Name)
			switch {
			case errors.Is(err, store.ErrNotFound):
				s.Why = "the steward has no account"
			case err != nil:
				return err
			case a.Disabled:
				s.Why = "the steward's account is disabled"
			case l.directory(s.Steward.Realm) != nil:
				known[s.Steward] = directory.Known{Owner: s.Steward, EntryID: a.EntryID}
				byRealm[s.Steward.Realm] = append(byRealm[s.Steward.Realm], s)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for realm, asked := range byRealm {
		owners := make([]token.Owner, len(asked))
		for i, s := range asked {
			owners[i] = s.Steward
		}
		verdicts, err := l.directory(realm).Presence(ctx, owners)
		if err != nil {
			return err
		}
		if len(verdicts) != len(asked) {
			return token.Errorf(token.ErrCannotTell, "the directory %s gave %d answers to %d questions", realm, len(verdicts), len(asked))
		}
		for i, v := range verdicts {
			switch v = v.Of(known[asked[i].Steward]); {
			case v.State == directory.Absent:
				asked[i].Why = plain(v.Why)
			case v.State == directory.CannotTell:
				asked[i].Why = "the directory cannot tell: " + plain(v.Why)
			case v.Disabled:
				asked[i].Why = "the directory has disabled the steward"
			}
		}
	}
	return nil
}

// plain is text of a directory that stays the same when a plan is written and
// read back.
func plain(s string) string { return strings.ToValidUTF8(s, "?") }

// batchSize is how many accounts are held, and tokens removed, at a time.
const batchSize = 1000

// batches groups a list. The slice is valid until the next one is asked for.
func batches[T any](list iter.Seq2[T, error]) iter.Seq2[[]T, error] {
	return func(yield func([]T, error) bool) {
		batch := make([]T, 0, batchSize)
		for v, err := range list {
			if err != nil {
				yield(nil, err)
				return
			}
			if batch = append(batch, v); len(batch) == batchSize {
				if !yield(batch, nil) {
					return
				}
				batch = batch[:0]
			}
		}
		if len(batch) > 0 {
			yield(batch, nil)
		}
	}
}
