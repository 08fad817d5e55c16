package authority

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Options are what a [Local] stands on.
type Options struct {
	Store store.Store
	Keys  *keyfile.Keys
	// Owner is whoever owns the file of the store, if it is one: first use
	// makes their account.
	Owner Caller
	// Now is the clock; nil: [time.Now].
	Now func() time.Time
	// Serving says that this process alone has the store and calls [Local.Run].
	Serving bool
	// Directories know the owners of their realms.
	Directories []directory.Directory
	// Provisioners carry service tokens into other systems.
	Provisioners []provision.Provisioner
	// Hasher is what provisioners share with the rules: so many slow hashes at
	// once, for all. Nil: the rules have one of their own.
	Hasher *secret.Hasher
	// Realms are those, besides local, in which accounts may be added; nil: any.
	Realms []string
	// Federation judges the JWTs of identity providers; nil: none is accepted.
	Federation Federation
	// Warn hears of what failed without changing an answer, such as writing
	// the time of a last use. Nil: nobody does.
	Warn func(error)
}

// Local is the rules over a store. It is safe for concurrent use.
type Local struct {
	store  store.Store
	keys   *keyfile.Keys
	owner  Caller
	now    func() time.Time
	warn   func(error)
	hasher *secret.Hasher
	signer *signer.Signer
	log    *audit.Log
	asked  asked
	tokens memory[token.ID, known]
	access memory[[32]byte, knownAccess]
	noted  noted
	ready  atomic.Bool // the key file belongs to the store
	wrote  atomic.Bool

	directories map[string]directory.Directory // by realm
	realms      []string
	attempts    attempts
	presences   presences
	slots       memory[door, known]
	services    memory[string, token.ServiceConfig]

	federation federation
	identities memory[token.ExternalIdentity, known]

	provisioners map[string]provision.Provisioner // by name
	deliverer    provision.Deliverer

	serving bool
	unsure  chan error // has room for one
}

// New makes the rules over a store and the key file that belongs to it.
func New(o Options) *Local {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	directories := map[string]directory.Directory{}
	for _, d := range o.Directories {
		directories[d.Realm()] = d
	}
	if o.Hasher == nil {
		o.Hasher = secret.NewHasher(o.Keys.Hashing(), secret.HasherOptions{Now: o.Now})
	}
	l := &Local{
		directories: directories, realms: o.Realms, federation: federation{judge: o.Federation},
		store: o.Store, keys: o.Keys, owner: o.Owner, now: o.Now, warn: o.Warn,
		hasher: o.Hasher,
		signer: signer.New(o.Keys),
		log:    audit.New(o.Keys, "main"),
		asked:  asked{seed: maphash.MakeSeed()},
		noted:  noted{urgent: make(chan struct{}, 1)}, serving: o.Serving, unsure: make(chan error, 1),
		provisioners: map[string]provision.Provisioner{},
	}
	for _, p := range o.Provisioners {
		l.provisioners[p.Name()] = p
	}
	l.deliverer = provision.Deliverer{
		Store: o.Store, Provisioners: o.Provisioners, Wanted: l.wanted, Open: l.open, Now: o.Now, Warn: o.Warn,
	}
	return l
}

// SelfConnection is the connection whose access tokens are good for our own
// API.
const SelfConnection = "tokenctl"

// As binds the rules to a caller.
func (l *Local) As(c Caller) Service { return &session{Local: l, caller: c} }

// Wrote says whether changes were asked for: an occasion for [Local.Maintain].
func (l *Local) Wrote() bool { return l.wrote.Load() }

// session is a Local bound to one caller.
type session struct {
	*Local
	caller Caller
}

// clock is the present in the precision of the store. Times are rounded down,
// so that nothing lasts longer than was said.
func (l *Local) clock() time.Time { return l.now().UTC().Truncate(time.Second) }

// keyPrint is what the store remembers of a key of the key file, to notice a
// key file that belongs to another store.
type keyPrint struct {
	number uint32
	print  []byte
}

var keyPrints = store.NewTable("key-file", 1,
	func(p *keyPrint) []string { return []string{fmt.Sprintf("%010d", p.number)} },
	func(e *store.Encoder, p *keyPrint) {
		e.Uint(uint64(p.number))
		e.Bytes(p.print)
	},
	func(d *store.Decoder, p *keyPrint) {
		p.number = uint32(d.Uint())
		p.print = d.Bytes()
	})

// errFresh says that nothing was ever written to the store.
var errFresh = errors.New("the store has not been used yet")

// checkKeys compares the key file with what the store remembers of it.
func (l *Local) checkKeys(r store.Reader) error {
	if l.ready.Load() {
		return nil
	}
	fresh := true
	for p, err := range keyPrints.Scan(r) {
		if err != nil {
			return err
		}
		fresh = false
		same := func() bool { return bytes.Equal(p.print, l.keys.Fingerprint(p.number)) }
		// Another process may have added the key since the file was read.
		if !same() && !(l.reloadKeys() && same()) {
			return token.Errorf(token.ErrCannotTell, "the key file %s does not belong to this store: key %d is missing or another", l.keys.Path(), p.number).
				WithHint("put back the copy of the key file that was made with this store; without it no token can be verified")
		}
	}
	if fresh {
		used, err := store.Policies.Has(r)
		if err == nil && used {
			err = token.Errorf(token.ErrCannotTell, "the store is damaged: it has a policy, and knows of no key file")
		}
		if err == nil {
			err = errFresh
		}
		return err
	}
	l.ready.Store(true)
	return nil
}

// view reads one snapshot. A store that nobody has used yet is made ready
// first.
func (l *Local) view(ctx context.Context, fn func(store.Reader) error) error {
	read := func() error {
		return l.store.View(ctx, func(r store.Reader) error {
			if err := l.checkKeys(r); err != nil {
				return err
			}
			return fn(r)
		})
	}
	err := l.withKeys(read)
	if errors.Is(err, errFresh) {
		s := session{Local: l, caller: l.owner}
		if err = s.update(ctx, func(*change) error { return nil }); err == nil {
			err = read()
		}
	}
	return err
}

// withKeys runs fn, and runs it again if it met a key that another process has
// added to the key file meanwhile.
func (l *Local) withKeys(fn func() error) error {
	had := l.keys.Hashing()
	err := fn()
	if errors.Is(err, secret.ErrUnknownKey) && (l.reloadKeys() || l.keys.Hashing() != had) {
		err = fn()
	}
	return err
}

// reloadKeys reads the key file again, for a key that another process has
// added to it.
func (l *Local) reloadKeys() bool {
	changed, err := l.keys.Reload()
	if err != nil {
		l.warn(err)
		return false
	}
	if changed {
		l.hasher.SetKeys(l.keys.Hashing())
	}
	return changed
}

// change is one Update under way: what is written, by whom and when, and the
// audit entries that go into the log in the same transaction.
type change struct {
	store.Writer
	by      *session
	now     time.Time
	entries []audit.Entry
}

// update changes the store; the entries that fn notes are in the audit log if
// and only if its writes are in the store.
func (s *session) update(ctx context.Context, fn func(*change) error) error {
	s.wrote.Store(true)
	err := s.denied(s.withKeys(func() error {
		return s.write(ctx, func(w store.Writer) error {
			c := &change{Writer: w, by: s, now: s.clock()}
			if err := c.prepare(); err != nil {
				return err
			}
			if err := fn(c); err != nil {
				return err
			}
			return s.log.Append(w, c.entries...)
		})
	}))
	if err == nil && len(s.provisioners) > 0 {
		s.deliverer.Wake()
	}
	return err
}

// view reads one snapshot for the caller.
func (s *session) view(ctx context.Context, fn func(store.Reader) error) error {
	return s.denied(s.Local.view(ctx, fn))
}

// errDenied marks the refusal of what a caller may not do, who is known.
var errDenied = errors.New("denied")

// note adds an audit entry; who, when and from where are filled in.
func (c *change) note(e audit.Entry) {
	e.Time, e.Actor, e.Via, e.Source = c.now, c.by.caller.Owner, c.by.caller.Via, c.by.caller.From
	c.entries = append(c.entries, e)
}

// noteToken adds an audit entry about a token.
func (c *change) noteToken(action string, r *token.Record, reason, detail string) {
	object := r.Name
	if r.Kind == token.Service {
		object = r.Service
	}
	c.note(audit.Entry{Action: action, Token: r.ID, Kind: r.Kind.String(), Owner: r.Owner, Object: object, Reason: reason, Detail: detail})
}

// prepare makes sure of what every change stands on: a key file that belongs
// to the store, the policy and connection that a new store begins with, and
// the account of the file's owner.
func (c *change) prepare() error {
	err := c.by.checkKeys(c.Writer)
	if errors.Is(err, errFresh) {
		err = c.begin()
	}
	if err != nil {
		return err
	}
	current := c.by.keys.Hashing().Current()
	known, err := keyPrints.Has(c.Writer, fmt.Sprintf("%010d", current))
	if err != nil {
		return err
	}
	if !known {
		if err := keyPrints.Put(c.Writer, keyPrint{current, c.by.keys.Fingerprint(current)}); err != nil {
			return err
		}
		c.note(audit.Entry{Action: "key.rotate", Object: fmt.Sprintf("file key %d", current)})
	}
	if !c.by.caller.FileOwner {
		return nil
	}
	has, err := store.Accounts.Has(c.Writer, c.by.caller.Owner.Realm, c.by.caller.Owner.Name)
	if err != nil || has {
		return err
	}
	c.note(audit.Entry{Action: "account.add", Owner: c.by.caller.Owner, Object: c.by.caller.Owner.String(), Detail: "first use of the local file"})
	return store.Accounts.Put(c.Writer, token.Account{
		Owner: c.by.caller.Owner, Kind: token.Person, Roles: []token.Role{token.Admin},
		CreatedAt: c.now, CreatedBy: c.by.caller.Owner, Revision: 1,
	})
}

func (c *change) begin() error {
	for _, k := range c.by.keys.Numbers() {
		if err := keyPrints.Put(c.Writer, keyPrint{k.Number, c.by.keys.Fingerprint(k.Number)}); err != nil {
			return err
		}
	}
	for _, name := range []string{token.DefaultConnection, SelfConnection} {
		conn := token.NewConnection(name)
		conn.CreatedAt, conn.Revision = c.now, 1
		if err := store.Connections.Put(c.Writer, conn); err != nil {
			return err
		}
	}
	// The first signing keys are published before they are used.
	first, next, err := c.by.newKeys(token.EdDSA)
	if err != nil {
		return err
	}
	p := token.DefaultPolicy()
	p.Revision = 1
	c.note(audit.Entry{Action: "store.begin"})
	if _, err := c.install(first, next); err != nil {
		return err
	}
	return store.Policies.Put(c.Writer, p)
}

// rights are the caller's roles as they are now.
func (s *session) rights(r store.Reader) ([]token.Role, error) {
	if s.caller.FileOwner {
		return []token.Role{token.Admin}, nil
	}
	if s.caller.Owner.IsZero() {
		return nil, nil
	}
	a, err := readAccount(r, s.caller.Owner)
	if errors.Is(err, store.ErrNotFound) || err == nil && a.Off() {
		return nil, token.Errorf(token.ErrRefused, "%s has no account, or it is disabled", s.caller.Owner)
	}
	if err != nil {
		return nil, err
	}
	if s.caller.Narrowed {
		return token.IntersectRoles(s.caller.Roles, a.AllRoles(s.now())), nil
	}
	return a.AllRoles(s.now()), nil
}

// needs refuses a caller who has none of the roles.
func (s *session) needs(r store.Reader, what string, roles ...token.Role) error {
	have, err := s.rights(r)
	if err != nil {
		return err
	}
	for _, role := range roles {
		if slices.Contains(have, role) {
			return nil
		}
	}
	if slices.Contains(have, token.Admin) {
		return nil
	}
	refusal := token.Errorf(token.ErrRefused, "%s may not %s", s.who(), what).WithHint("this needs the role %s", roles[0])
	if !s.caller.Owner.IsZero() {
		refusal.Cause = errDenied
	}
	return refusal
}

// Require refuses a caller who has none of the roles, as the methods of a
// [Service] do, for rules that stand elsewhere: the refusal is in the audit log.
func (l *Local) Require(ctx context.Context, c Caller, what string, roles ...token.Role) error {
	s := &session{Local: l, caller: c}
	return s.view(ctx, func(r store.Reader) error { return s.needs(r, what, roles...) })
}

func (s *session) who() string {
	if s.caller.Owner.IsZero() {
		return "a stranger"
	}
	return s.caller.Owner.String()
}

// mayManage refuses a caller to whom the owner's tokens are none of their
// business: not their own, not a service account's whose steward they are, and
// not an administrator. what is all that the refusal says: not whose it is.
func (s *session) mayManage(r store.Reader, o token.Owner, what string) error {
	return s.mayTouch(r, o, "change "+what, token.Admin)
}

func (s *session) maySee(r store.Reader, o token.Owner, what string) error {
	return s.mayTouch(r, o, "see "+what, token.Auditor)
}

func (s *session) mayTouch(r store.Reader, o token.Owner, what string, role token.Role) error {
	if o == s.caller.Owner && !o.IsZero() {
		_, err := s.rights(r)
		return err
	}
	err := s.needs(r, what, role)
	if !errors.Is(err, token.ErrRefused) || s.caller.Owner.IsZero() {
		return err
	}
	a, getErr := store.Accounts.Get(r, o.Realm, o.Name)
	if getErr != nil && !errors.Is(getErr, store.ErrNotFound) {
		return getErr
	}
	if a.Kind == token.ServiceAccount && a.Steward == s.caller.Owner {
		_, err = s.rights(r)
	}
	return err
}

// policy is the policy in force.
func policy(r store.Reader) (token.Policy, error) {
	p, err := store.Policies.Get(r)
	if errors.Is(err, store.ErrNotFound) {
		return token.DefaultPolicy(), nil
	}
	return p, err
}
