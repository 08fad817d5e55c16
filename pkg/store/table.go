package store

import (
	"context"
	"errors"
	"iter"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Table is a typed collection below c <kind>: one record under each name.
type Table[T any] struct {
	kind    string
	version byte
	encode  func(*Encoder, *T)
	decode  func(*Decoder, *T)
	name    func(*T) []string
}

// NewTable describes a table: its kind, the newest version of its records, the
// components of a record's name, and how the other fields are written and
// read.
func NewTable[T any](kind string, version byte, name func(*T) []string, encode func(*Encoder, *T), decode func(*Decoder, *T)) Table[T] {
	return Table[T]{kind, version, encode, decode, name}
}

func (t Table[T]) key(name ...string) Key {
	k := NewKey(tableConfig).Text(t.kind)
	for _, part := range name {
		k = k.Text(part)
	}
	return k
}

// Get reads the record of a name, or fails with [ErrNotFound].
func (t Table[T]) Get(r Reader, name ...string) (v T, err error) {
	key := t.key(name...)
	b, err := r.Get(key)
	if err != nil {
		return v, err
	}
	err = t.unmarshal(key, b, &v)
	return v, err
}

// Has says whether there is a record of a name.
func (t Table[T]) Has(r Reader, name ...string) (bool, error) {
	_, err := r.Get(t.key(name...))
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Put writes a record under its name.
func (t Table[T]) Put(w Writer, v T) error {
	key := t.key(t.name(&v)...)
	return w.Put(key, Marshal(key, t.version, func(e *Encoder) { t.encode(e, &v) }))
}

// Delete removes the record of a name.
func (t Table[T]) Delete(w Writer, name ...string) error { return w.Delete(t.key(name...)) }

// Replace makes the records of one store those of another: what that had is
// gone.
func (t Table[T]) Replace(from Reader, to Writer) error {
	var old, now []T
	for v, err := range t.Scan(to) {
		if err != nil {
			return err
		}
		old = append(old, v)
	}
	for v, err := range t.Scan(from) {
		if err != nil {
			return err
		}
		now = append(now, v)
	}
	for _, v := range old {
		if err := t.Delete(to, t.name(&v)...); err != nil {
			return err
		}
	}
	for _, v := range now {
		if err := t.Put(to, v); err != nil {
			return err
		}
	}
	return nil
}

// Scan reads all records whose names begin with the given components, in the
// order of their names.
func (t Table[T]) Scan(r Reader, name ...string) iter.Seq2[T, error] {
	return t.records(r.Scan(t.key(name...), nil))
}

// Pages is [Table.Scan], page by page: the loop's body may use the store.
func (t Table[T]) Pages(ctx context.Context, s Store, name ...string) iter.Seq2[T, error] {
	return t.PagesAfter(ctx, s, nil, name...)
}

// PagesAfter is Pages from behind the record whose name after is.
func (t Table[T]) PagesAfter(ctx context.Context, s Store, after []string, name ...string) iter.Seq2[T, error] {
	var from Key
	if len(after) > 0 {
		from = t.key(after...)
	}
	return t.records(PagesAfter(ctx, s, t.key(name...), from, 256))
}

func (t Table[T]) records(entries iter.Seq2[Entry, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for e, err := range entries {
			var v T
			if err == nil {
				err = t.unmarshal(e.Key, e.Value, &v)
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

func (t Table[T]) unmarshal(key, value []byte, v *T) error {
	return Unmarshal(key, value, t.version, func(d *Decoder) { t.decode(d, v) })
}

// Accounts are the accounts by realm and name.
var Accounts = NewTable("account", 3,
	func(a *token.Account) []string { return []string{a.Owner.Realm, a.Owner.Name} },
	func(e *Encoder, a *token.Account) {
		e.Owner(a.Owner)
		e.String(string(a.Kind))
		e.String(a.DisplayName)
		e.Roles(a.Roles)
		e.Owner(a.Steward)
		e.Bool(a.Disabled)
		e.Time(a.CreatedAt)
		e.Owner(a.CreatedBy)
		e.Uint(a.Revision)
		e.String(a.EntryID)
		e.String(a.Successor)
		e.Roles(a.DirectoryRoles)
		e.Time(a.RolesAt)
		e.Bytes(a.Password)
		e.Uint(uint64(a.WrongPasswords))
		e.Uint(uint64(len(a.Identities)))
		for _, i := range a.Identities {
			e.String(i.Issuer)
			e.String(i.Claim)
			e.String(i.Subject)
			e.Roles(i.Roles)
			e.Time(i.RolesUntil)
			e.String(i.RolesBy)
			e.Time(i.SaidAt)
		}
	},
	func(d *Decoder, a *token.Account) {
		a.Owner = d.Owner()
		a.Kind = token.AccountKind(d.String())
		a.DisplayName = d.String()
		a.Roles = d.Roles()
		a.Steward = d.Owner()
		a.Disabled = d.Bool()
		a.CreatedAt = d.Time()
		a.CreatedBy = d.Owner()
		a.Revision = d.Uint()
		if d.Version < 2 { // of a time without directories and passwords
			return
		}
		a.EntryID = d.String()
		a.Successor = d.String()
		a.DirectoryRoles = d.Roles()
		a.RolesAt = d.Time()
		a.Password = d.Bytes()
		a.WrongPasswords = int(d.Uint())
		if d.Version < 3 { // of a time without identity providers
			return
		}
		for range min(d.Uint(), maxListed) {
			var i token.LinkedIdentity
			i.Issuer = d.String()
			i.Claim = d.String()
			i.Subject = d.String()
			i.Roles = d.Roles()
			i.RolesUntil = d.Time()
			i.RolesBy = d.String()
			i.SaidAt = d.Time()
			a.Identities = append(a.Identities, i)
		}
	})

// Connections are the connections by name.
var Connections = NewTable("connection", 3,
	func(c *token.Connection) []string { return []string{c.Name} },
	func(e *Encoder, c *token.Connection) {
		e.String(c.Name)
		e.String(c.EntityID)
		e.Duration(c.AccessLifetime)
		e.String(c.RoleClaim)
		e.Roles(c.Roles)
		e.String(string(c.Algorithm))
		e.Time(c.CreatedAt)
		e.Uint(c.Revision)
		e.Bool(c.Rotate)
		e.String(string(c.Reuse))
		e.Duration(c.RetryWindow)
		e.String(string(c.AuthMethod))
		e.Bytes(c.SecretVerifier)
		e.Time(c.SecretSince)
	},
	func(d *Decoder, c *token.Connection) {
		c.AuthMethod = token.AuthNone
		c.Name = d.String()
		c.EntityID = d.String()
		c.AccessLifetime = d.Duration()
		c.RoleClaim = d.String()
		c.Roles = d.Roles()
		c.Algorithm = token.Algorithm(d.String())
		c.CreatedAt = d.Time()
		c.Revision = d.Uint()
		if d.Version < 2 { // of a time without rotation
			normal := token.NewConnection(c.Name)
			c.Reuse, c.RetryWindow = normal.Reuse, normal.RetryWindow
			return
		}
		c.Rotate = d.Bool()
		c.Reuse = token.Reuse(d.String())
		c.RetryWindow = d.Duration()
		if d.Version < 3 { // of a time without client secrets
			return
		}
		c.AuthMethod = token.AuthMethod(d.String())
		c.SecretVerifier = d.Bytes()
		c.SecretSince = d.Time()
	})

// maxListed bounds what a damaged number could ask for.
const maxListed = 1 << 10

// Services are the services by name.
var Services = NewTable("service", 1,
	func(s *token.ServiceConfig) []string { return []string{s.Name} },
	func(e *Encoder, s *token.ServiceConfig) {
		e.String(s.Name)
		e.String(s.DisplayName)
		e.Bool(s.Enabled)
		e.String(string(s.TokenType))
		e.String(s.Realm)
		e.Uint(uint64(len(s.Provisioners)))
		for _, p := range s.Provisioners {
			e.String(p)
		}
		e.Time(s.CreatedAt)
		e.Owner(s.CreatedBy)
		e.Uint(s.Revision)
	},
	func(d *Decoder, s *token.ServiceConfig) {
		s.Name = d.String()
		s.DisplayName = d.String()
		s.Enabled = d.Bool()
		s.TokenType = token.TokenType(d.String())
		s.Realm = d.String()
		for range min(d.Uint(), maxListed) {
			s.Provisioners = append(s.Provisioners, d.String())
		}
		s.CreatedAt = d.Time()
		s.CreatedBy = d.Owner()
		s.Revision = d.Uint()
	})

// Policies holds the one policy.
var Policies = NewTable("policy", 3,
	func(*token.Policy) []string { return nil },
	func(e *Encoder, p *token.Policy) {
		e.Duration(p.UserTokenLifetime)
		e.Duration(p.ServiceTokenLifetime)
		e.Duration(p.RefreshTokenLifetime)
		e.Duration(p.RefreshTokenMaxLifetime)
		e.Duration(p.AccessTokenMaxLifetime)
		e.String(string(p.RefreshTokens))
		e.String(p.Issuer)
		e.Duration(p.Retention)
		e.Duration(p.LongestAccessLifetime)
		e.Uint(p.Revision)
		e.String(string(p.DirectoryUnreachable))
		e.Duration(p.DirectoryMemory)
		e.Uint(uint64(p.PurgeBreaker))
		e.Uint(uint64(p.Lockout))
		e.Duration(p.FederatedTokenLifetime)
	},
	func(d *Decoder, p *token.Policy) {
		p.UserTokenLifetime = d.Duration()
		p.ServiceTokenLifetime = d.Duration()
		p.RefreshTokenLifetime = d.Duration()
		p.RefreshTokenMaxLifetime = d.Duration()
		p.AccessTokenMaxLifetime = d.Duration()
		p.RefreshTokens = token.RefreshTokens(d.String())
		p.Issuer = d.String()
		p.Retention = d.Duration()
		p.LongestAccessLifetime = d.Duration()
		p.Revision = d.Uint()
		normal := token.DefaultPolicy()
		p.FederatedTokenLifetime = normal.FederatedTokenLifetime
		if d.Version < 2 { // of a time without directories
			p.DirectoryUnreachable, p.DirectoryMemory, p.PurgeBreaker, p.Lockout = normal.DirectoryUnreachable, normal.DirectoryMemory, normal.PurgeBreaker, normal.Lockout
			return
		}
		p.DirectoryUnreachable = token.Unreachable(d.String())
		p.DirectoryMemory = d.Duration()
		p.PurgeBreaker = int(d.Uint())
		p.Lockout = int(d.Uint())
		if d.Version >= 3 { // of a time with identity providers
			p.FederatedTokenLifetime = d.Duration()
		}
	})
