package provision

import (
	"context"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// sweep is the rest of a walk through the tokens of a service.
type sweep struct {
	service string
	after   token.Owner // who was told last; zero: nobody yet
}

var sweeps = store.NewTable("provision-sweep", 1,
	func(s *sweep) []string { return []string{s.service} },
	func(e *store.Encoder, s *sweep) { e.String(s.service); e.Owner(s.after) },
	func(d *store.Decoder, s *sweep) { s.service, s.after = d.String(), d.Owner() })

// ReconcileService is [Reconcile] for all tokens of a service, in the
// transaction that disables, enables or changes it. It is one write: the
// [Deliverer] goes through the tokens, page by page.
func ReconcileService(w store.Writer, service string) error {
	return sweeps.Put(w, sweep{service: service}) // a walk under way begins again
}

// Sweeps reads the services whose tokens the [Deliverer] has still to go
// through.
func Sweeps(r store.Reader) ([]string, error) {
	var services []string
	for s, err := range sweeps.Scan(r) {
		if err != nil {
			return nil, err
		}
		services = append(services, s.service)
	}
	return services, nil
}

// sweepPage is how many tokens one transaction goes through at most.
const sweepPage = 500

// sweep goes one page further, and reports whether there was one to go.
func (d *Deliverer) sweep(ctx context.Context) (went bool, err error) {
	err = d.Store.View(ctx, func(r store.Reader) error {
		services, err := Sweeps(r)
		went = len(services) > 0
		return err
	})
	if err != nil || !went {
		return false, err
	}
	err = d.Store.Update(ctx, func(w store.Writer) error {
		services, err := Sweeps(w)
		if err != nil || len(services) == 0 {
			return err
		}
		s, err := sweeps.Get(w, services[0])
		if err != nil {
			return err
		}
		return s.advance(w, d.Store.Limit(), d.now())
	})
	return err == nil, err
}

// advance has the next page of tokens told, with no more than limit writes. It
// ends before the page does if tokens have many States.
func (s sweep) advance(w store.Writer, limit int, now time.Time) error {
	holders, err := store.ServiceHolders(w, s.service, s.after, sweepPage)
	if err != nil {
		return err
	}
	done := len(holders) < sweepPage
	writes := 1
	for i, h := range holders {
		known, err := States(w, h.Token)
		if err != nil {
			return err
		}
		if writes += writesPerState * len(known); writes > limit && i > 0 {
			done = false
			break
		}
		if err := Reconcile(w, h.Token, now); err != nil {
			return err
		}
		s.after = h.Owner
	}
	if done {
		return sweeps.Delete(w, s.service)
	}
	return sweeps.Put(w, s)
}
