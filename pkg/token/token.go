// Package token says what a token is: kinds, ids, owners, roles, states, and
// the accounts, connections and policy around them. It knows no store, no
// network and no clock but the time that it is given.
package token

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
)

// ID names one token for its whole life, through rotations too. Ids sort by
// the time of their making, see [secret.ID].
type ID = secret.ID

// ParseID reads the text form of an id: 16 characters of lower-case Crockford
// base32.
func ParseID(s string) (ID, error) {
	id, err := secret.ParseID(s)
	if err != nil {
		return ID{}, Errorf(ErrUsage, "%q is not a token id (16 characters of lower-case Crockford base32)", s)
	}
	return id, nil
}

// Kind is what a token is for.
type Kind uint8

// The kinds. The numbers are in the store and never change.
const (
	User    Kind = 1 // logging in as its owner
	Service Kind = 2 // being its owner at one service
	Refresh Kind = 3 // obtaining access tokens
	Access  Kind = 4 // a signed JWT; never stored
	// Federated is a JWT of an identity provider; never stored.
	Federated Kind = 5
)

var kindNames = map[Kind]string{User: "user", Service: "service", Refresh: "refresh", Access: "access", Federated: "federated"}

func (k Kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// ParseKind reads the name of a kind that is kept in the store.
func ParseKind(s string) (Kind, error) {
	for _, k := range []Kind{User, Service, Refresh} {
		if k.String() == s {
			return k, nil
		}
	}
	return 0, Errorf(ErrUsage, "unknown kind %q", s).WithHint("kinds are user, service and refresh")
}

// Status is the state of a token at one moment.
type Status string

// The states. Revoked and expired are final.
const (
	Active    Status = "active"
	Suspended Status = "suspended" // can be resumed
	Expired   Status = "expired"
	Revoked   Status = "revoked" // a tombstone
)

// ParseStatus reads the name of a state.
func ParseStatus(s string) (Status, error) {
	switch st := Status(s); st {
	case Active, Suspended, Expired, Revoked:
		return st, nil
	}
	return "", Errorf(ErrUsage, "unknown status %q", s).WithHint("states are active, suspended, expired and revoked")
}

// Record is a token as it is stored. Times have a precision of one second; a
// zero time means never.
type Record struct {
	ID         ID
	Kind       Kind
	Owner      Owner
	Name       string // refresh tokens only, unique among the owner's live ones, may be empty
	Service    string // service tokens only
	Connection string // refresh tokens only
	Audience   string // the connection's entity id, fixed when the token is made
	Roles      []Role // refresh tokens only: the roles that were chosen

	CreatedAt time.Time
	CreatedBy Owner
	ExpiresAt time.Time // fixed when the token is made, whatever a policy says later

	SuspendedAt    time.Time
	SuspendedUntil time.Time // zero: until resumed

	RevokedAt     time.Time
	RevokedBy     Owner
	RevokedReason string

	RotatedAt time.Time
	// Verifier checks the secret. A tombstone has none.
	Verifier secret.Verifier
	// Previous checks the secret before the last rotation: accepted until
	// PreviousUntil, and kept until the next change so that a rotation whose
	// answer was lost can be taken back.
	Previous          secret.Verifier
	PreviousUntil     time.Time
	PreviousUntilUsed bool // accepted only until the new secret is first used

	// Undo is the state that the last rotation replaced, kept until the next
	// change; nil if there was none.
	Undo *RotationState

	// Family is what exchanges have left that rotate the token; nil if none has.
	Family *Family

	// Replaced is the service token whose place this one has taken, kept until
	// the next change so that it can be given back; nil if there was none.
	Replaced *Replaced

	// LastChange is what brought the token to its revision.
	LastChange Change
	// Revision rises with every change, so that what was shown to a person is
	// what a confirmed change applies to.
	Revision uint64
}

// Family is the secrets of a refresh token that exchanges rotate.
type Family struct {
	// Tag is what all of them were tagged with: by it one that was used up is
	// known again. A rotation by hand begins another; Before is the last one's.
	Tag, Before string
	// Retries are those that were used up of late.
	Retries []Retry
}

// Retry is a secret that an exchange has used up, and whose answer may have been
// lost.
type Retry struct {
	Verifier secret.Verifier
	Until    time.Time
	// Sealed is the secret that took its place: who has the old one gets it.
	Sealed []byte
}

// Replaced is what makes a tombstone the token again that it was.
type Replaced struct {
	ID       ID
	Verifier secret.Verifier
	Rotation RotationState
}

// RotationState is what a record knows of a rotation.
type RotationState struct {
	RotatedAt         time.Time
	Previous          secret.Verifier
	PreviousUntil     time.Time
	PreviousUntilUsed bool
}

// RotationState is the state that another rotation would replace.
func (r *Record) RotationState() RotationState {
	return RotationState{r.RotatedAt, r.Previous, r.PreviousUntil, r.PreviousUntilUsed}
}

// SetRotationState puts a state back.
func (r *Record) SetRotationState(s RotationState) {
	r.RotatedAt, r.Previous, r.PreviousUntil, r.PreviousUntilUsed = s.RotatedAt, s.Previous, s.PreviousUntil, s.PreviousUntilUsed
}

// StatusAt is the state of the token at a moment.
func (r *Record) StatusAt(now time.Time) Status {
	switch {
	case !r.RevokedAt.IsZero():
		return Revoked
	case !r.ExpiresAt.IsZero() && !now.Before(r.ExpiresAt):
		return Expired
	case !r.SuspendedAt.IsZero() && (r.SuspendedUntil.IsZero() || now.Before(r.SuspendedUntil)):
		return Suspended
	}
	return Active
}

// Live says whether the token may be, or become again, of use: it is active
// or suspended. A live token holds its owner's slot or name.
func (r *Record) Live(now time.Time) bool {
	s := r.StatusAt(now)
	return s == Active || s == Suspended
}

// Ref is the reference to this revision of the token.
func (r *Record) Ref() Ref { return Ref{ID: r.ID, Revision: r.Revision} }

// Bury makes the record a tombstone: id, owner, times, who and why stay; no
// verifier does.
func (r *Record) Bury(now time.Time, by Owner, reason string) {
	r.RevokedAt, r.RevokedBy, r.RevokedReason = now, by, reason
	r.Verifier, r.Previous, r.PreviousUntil, r.PreviousUntilUsed, r.Undo, r.Replaced, r.Family = nil, nil, time.Time{}, false, nil, nil, nil
}

// Change is the kind of the last change of a token.
type Change uint8

// The changes. The numbers are in the store and never change. What made or
// rotated a token can be taken back until something else changes it.
const (
	Other Change = iota
	Made
	Rotated
)

// Ref names a token as it was seen. A change that is asked for with a
// revision fails with [ErrConflict] once the token is no longer that one;
// revision 0 means whatever it is now.
type Ref struct {
	ID       ID
	Revision uint64
}

// Token is what may be shown of a token: everything but its verifiers.
type Token struct {
	Record
	Status       Status
	LastUsedAt   time.Time // precision 30 s
	LastUsedFrom string
}

// NewToken shows a record at a moment.
func NewToken(r Record, now time.Time) Token {
	r.Verifier, r.Previous, r.Undo, r.Replaced, r.Family = nil, nil, nil, nil, nil
	return Token{Record: r, Status: r.StatusAt(now)}
}

// Use is when and from where a token was last used.
type Use struct {
	At   time.Time
	From string
}

// Spec asks for a new token.
type Spec struct {
	Kind       Kind
	Owner      Owner // zero: the caller
	Name       string
	Service    string
	Connection string // refresh tokens; empty: "default"
	Roles      []Role
	Lifetime   time.Duration // 0: what the policy says
	// Replace ends the service token that there is, in the same transaction.
	Replace bool
}

// Check says what is wrong with the request as such.
func (s *Spec) Check() error {
	if s.Kind != User && s.Kind != Service && s.Kind != Refresh {
		return Errorf(ErrUsage, "cannot generate a token of kind %q", s.Kind)
	}
	if s.Kind != Refresh && (s.Name != "" || s.Connection != "" || len(s.Roles) > 0) {
		return Errorf(ErrUsage, "only refresh tokens have a name, a connection and roles")
	}
	if (s.Kind == Service) != (s.Service != "") {
		return Errorf(ErrUsage, "service tokens, and only they, name a service")
	}
	if s.Replace && s.Kind != Service {
		return Errorf(ErrUsage, "only service tokens replace the one before").WithHint("give it a new secret: tokenctl rotate")
	}
	for what, name := range map[string]string{"token name": s.Name, "service": s.Service, "connection": s.Connection} {
		if name == "" {
			continue
		}
		if err := CheckName(what, name); err != nil {
			return err
		}
	}
	if err := checkRoles(s.Roles); err != nil {
		return err
	}
	if s.Lifetime != 0 {
		return CheckLifetime(s.Lifetime)
	}
	return nil
}

// Identity is the answer to "who is this?": what an accepted credential
// stands for.
type Identity struct {
	Kind       Kind
	ID         ID // of the token; of an access token: its parent's
	Owner      Owner
	Roles      []Role
	Service    string
	Connection string
	ExpiresAt  time.Time // zero: never
	// Of a JWT alone: its claims iss, aud, jti and iat (RFC 7519 §4.1).
	Issuer   string
	Audience string
	JWTID    string
	IssuedAt time.Time
	// Provider is who vouches for it, if that is an identity provider.
	Provider string
	// Narrowed: it is limited to Roles, whatever else its owner may do.
	Narrowed bool
	// Until ends what is made with it; zero: policy alone says how long that
	// lives.
	Until time.Time
}

// HasRole says whether the identity bears a role. [Admin] counts as every
// role.
func (i *Identity) HasRole(r Role) bool {
	return slices.Contains(i.Roles, r) || slices.Contains(i.Roles, Admin)
}
