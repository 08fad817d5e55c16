package provision

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// States reads what is known of a token, in the order of the provisioners'
// names.
func States(r store.Reader, id token.ID) ([]State, error) {
	var all []State
	for s, err := range states.Scan(r, id.String()) {
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Filter chooses States: those that agree with every field that is not zero.
type Filter struct {
	Token       token.ID
	Owner       token.Owner
	Service     string
	Provisioner string
	Pending     bool
}

func (f *Filter) admits(s *State) bool {
	return (f.Token.IsZero() || f.Token == s.Token) &&
		(f.Owner.IsZero() || f.Owner == s.Owner) &&
		(f.Service == "" || f.Service == s.Service) &&
		(f.Provisioner == "" || f.Provisioner == s.Provisioner) &&
		(!f.Pending || s.Pending())
}

// List yields the States that a filter lets through, in the order of the
// tokens' ids, page by page: the loop's body may use the store.
func List(ctx context.Context, s store.Store, f Filter) iter.Seq2[State, error] {
	return func(yield func(State, error) bool) {
		var name []string
		if !f.Token.IsZero() {
			name = append(name, f.Token.String())
		}
		for state, err := range states.Pages(ctx, s, name...) {
			if err == nil && !f.admits(&state) {
				continue
			}
			if !yield(state, err) || err != nil {
				return
			}
		}
	}
}

// Retry has what is pending of a token delivered now, and returns how many
// States that are. The number of attempts stays.
func Retry(w store.Writer, id token.ID, now time.Time) (int, error) {
	return edit(w, id, func(s *State) bool { return s.retry(now) })
}

func (s *State) retry(now time.Time) bool {
	if !s.Pending() {
		return false
	}
	s.Due = s.soonest(now)
	return true
}

// RetryAll is [Retry] for all tokens that a filter lets through, page by page.
func RetryAll(ctx context.Context, s store.Store, f Filter, now time.Time) (retried int, err error) {
	f.Pending = true
	var page []State
	flush := func() error {
		n := 0
		err := s.Update(ctx, func(w store.Writer) error {
			n = 0
			for _, p := range page {
				was, err := states.Get(w, p.Token.String(), p.Provisioner)
				if errors.Is(err, store.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				state := was
				if !state.retry(now) {
					continue
				}
				n++
				if err := put(w, &was, &state); err != nil {
					return err
				}
			}
			return nil
		})
		retried += n
		page = page[:0]
		return err
	}
	for state, err := range List(ctx, s, f) {
		if err != nil {
			return retried, err
		}
		if page = append(page, state); len(page) == s.Limit()/writesPerState {
			if err := flush(); err != nil {
				return retried, err
			}
		}
	}
	return retried, flush()
}

// Inspect reads every State and every row of the outbox, and yields what is
// wrong: one without the other. Damage is a finding; an error says that the
// store could not be read.
func Inspect(ctx context.Context, s store.Store) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for state, err := range states.Pages(ctx, s) {
			if errors.Is(err, store.ErrDamaged) {
				yield(err.Error(), nil) // what is behind it cannot be read
				break
			}
			if err == nil {
				err = s.View(ctx, func(r store.Reader) error {
					now, err := states.Get(r, state.Token.String(), state.Provisioner) // it may have changed since the page was read
					if errors.Is(err, store.ErrNotFound) {
						return nil
					}
					if err != nil {
						return err
					}
					return now.check(r)
				})
			}
			var text string
			if found := problem(""); errors.As(err, &found) {
				text, err = fmt.Sprintf("token %s at %s: %s", state.Token, state.Provisioner, found), nil
			}
			if text == "" && err == nil {
				continue
			}
			if !yield(text, err) || err != nil {
				return
			}
		}
		for e, err := range store.Pages(ctx, s, store.NewKey(store.TableOutbox), 256) {
			if err != nil {
				yield("", err)
				return
			}
			problem, err := checkRow(ctx, s, e.Key)
			if problem == "" && err == nil {
				continue
			}
			if !yield(problem, err) || err != nil {
				return
			}
		}
	}
}

func checkRow(ctx context.Context, s store.Store, key []byte) (problem string, err error) {
	r, err := parseRow(key)
	if err != nil {
		return fmt.Sprintf("outbox entry %x: %v", key, err), nil
	}
	err = s.View(ctx, func(reader store.Reader) error {
		state, err := states.Get(reader, r.id.String(), r.provisioner)
		if errors.Is(err, store.ErrNotFound) || err == nil && !state.Due.Equal(r.due) {
			problem = fmt.Sprintf("outbox entry %x: no delivery of token %s at %s is due then", key, r.id, r.provisioner)
			return nil
		}
		return err
	})
	return problem, err
}
