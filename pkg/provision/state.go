package provision

import (
	"context"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// State is what is known of one token at one provisioner: the values that the
// other system has or had from us, and the delivery that is due. What the
// system should have is not stored, but found out at delivery.
type State struct {
	Token       token.ID
	Provisioner string
	Target
	Order int // of the provisioner, when the token was made
	// Values are those that the other system may have, in the order of their
	// making: the last is that of the token's secret now. One that was
	// replaced is kept until the next one is, so that it can be taken back.
	Values []Value

	// Due is when to deliver next; zero: when the token changes. While it
	// delivers, it is when another may try.
	Due time.Time
	// LeasedUntil is how long whoever delivers now has the State to itself;
	// zero: nobody does.
	LeasedUntil time.Time
	Event       string // the id of the event under way; empty: none
	Attempts    int    // that failed, since the last change
	LastTry     time.Time
	LastError   string // of the last attempt, if it failed; no secret is in it
	// AcknowledgedAt is when the other system agreed last; zero: it has not
	// since the last change.
	AcknowledgedAt time.Time

	lease   string // of whoever delivers
	claimed string // what the event under way asks for
}

// Pending reports whether the other system has not yet agreed to the last
// change.
func (s *State) Pending() bool { return s.AcknowledgedAt.IsZero() }

// Value is what the other system is to have of one secret.
type Value struct {
	// Sealed is what [Provisioner.Prepare] made, sealed for [SealedFor].
	Sealed []byte
	Until  time.Time // zero: as long as the token
	At     Place
}

// Place says where a value is, as far as the other system has told.
type Place uint8

// The places. The numbers are in the store and never change.
const (
	Unknown Place = iota // never delivered, or somebody is at it
	There
	Gone
)

// SealedFor says what a sealed value belongs to. It is bound to the value when
// that is sealed, so that nobody can move one to another token or provisioner.
func SealedFor(id token.ID, provisioner string) string { return id.String() + "/" + provisioner }

// Add begins to provision a token, in the transaction that makes it. Of s it
// takes Token, Provisioner, Target, Order, and of Values the last one's Sealed.
// If there is a State already, it is replaced as by [Replace], with no grace.
func Add(w store.Writer, s State, now time.Time) error { return nil }

// Replace gives a token another value at a provisioner, in the transaction
// that rotates it. The old one stays until oldUntil; zero: it goes now. The
// error is store.ErrNotFound if the token is not provisioned there.
func Replace(w store.Writer, id token.ID, provisioner string, sealed []byte, oldUntil, now time.Time) error {
	return nil
}

// TakeBack makes the value before the last [Replace] the token's again, at all
// provisioners: the last one goes. Where there is none before, nothing changes.
func TakeBack(w store.Writer, id token.ID, now time.Time) error { return nil }

// Retire has the values that were replaced go now, whatever grace they had.
func Retire(w store.Writer, id token.ID, now time.Time) error { return nil }

// Reconcile has every provisioner of a token told anew, in the transaction that
// changes the token: suspend, resume, revoke, delete. What it is told is found
// out when it is.
func Reconcile(w store.Writer, id token.ID, now time.Time) error { return nil }

// ReconcileOwner is [Reconcile] for the service tokens of an owner that hold
// their slots, in the transaction that disables or enables the account.
func ReconcileOwner(w store.Writer, o token.Owner, now time.Time) error { return nil }

// ReconcileService is [Reconcile] for all tokens of a service, in the
// transaction that disables, enables or changes it. It is one write: the
// [Deliverer] goes through the tokens, page by page.
func ReconcileService(w store.Writer, service string, now time.Time) error { return nil }

// States reads what is known of a token, in the order of the provisioners'
// names.
func States(r store.Reader, id token.ID) ([]State, error) { return nil, nil }

// Filter chooses States: those that agree with every field that is not zero.
type Filter struct {
	Token       token.ID
	Owner       token.Owner
	Service     string
	Provisioner string
	Pending     bool
}

// List yields the States that a filter lets through, in the order of the
// tokens' ids, page by page: the loop's body may use the store.
func List(ctx context.Context, s store.Store, f Filter) iter.Seq2[State, error] { return nil }

// Sweeps reads the services whose tokens the [Deliverer] has still to go
// through.
func Sweeps(r store.Reader) ([]string, error) { return nil, nil }

// Retry has what is pending of a token delivered now, and returns how many
// States that are. The number of attempts stays.
func Retry(w store.Writer, id token.ID, now time.Time) (int, error) { return 0, nil }

// RetryAll is [Retry] for all tokens, page by page.
func RetryAll(ctx context.Context, s store.Store, f Filter, now time.Time) (int, error) {
	return 0, nil
}
