package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// tokenVersion is the newest version of a token's record.
const tokenVersion = 3

func tokenKey(id token.ID) Key { return NewKey(tableTokens).ID(id) }

// The optional parts of a token's record, as bits of one number before them.
const (
	hasMaker = 1 << iota // made by another than the owner
	hasExpiry
	hasName
	hasService
	hasConnection
	hasRoles
	hasSuspension
	hasRevocation
	hasRotation
	hasVerifier
	hasUndo
	hasReplaced // since version 2
	hasFamily   // since version 3
)

func encodeToken(e *Encoder, r *token.Record) {
	var parts uint64
	set := func(part uint64, is bool) {
		if is {
			parts |= part
		}
	}
	set(hasMaker, r.CreatedBy != r.Owner)
	set(hasExpiry, !r.ExpiresAt.IsZero())
	set(hasName, r.Name != "")
	set(hasService, r.Service != "")
	set(hasConnection, r.Connection != "" || r.Audience != "")
	set(hasRoles, len(r.Roles) > 0)
	set(hasSuspension, !r.SuspendedAt.IsZero())
	set(hasRevocation, !r.RevokedAt.IsZero())
	set(hasRotation, !r.RotatedAt.IsZero())
	set(hasVerifier, len(r.Verifier) > 0)
	set(hasUndo, r.Undo != nil)
	set(hasReplaced, r.Replaced != nil)
	set(hasFamily, r.Family != nil)
	e.Uint(parts)
	e.Uint(uint64(r.Kind))
	e.Uint(r.Revision)
	e.Uint(uint64(r.LastChange))
	e.Owner(r.Owner)
	e.Time(r.CreatedAt)
	if parts&hasMaker != 0 {
		e.Owner(r.CreatedBy)
	}
	if parts&hasExpiry != 0 {
		e.Time(r.ExpiresAt)
	}
	if parts&hasName != 0 {
		e.String(r.Name)
	}
	if parts&hasService != 0 {
		e.String(r.Service)
	}
	if parts&hasConnection != 0 {
		e.String(r.Connection)
		e.String(r.Audience)
	}
	if parts&hasRoles != 0 {
		e.Roles(r.Roles)
	}
	if parts&hasSuspension != 0 {
		e.Time(r.SuspendedAt)
		e.Time(r.SuspendedUntil)
	}
	if parts&hasRevocation != 0 {
		e.Time(r.RevokedAt)
		e.Owner(r.RevokedBy)
		e.String(r.RevokedReason)
	}
	if parts&hasRotation != 0 {
		encodeRotation(e, r.RotationState())
	}
	if parts&hasVerifier != 0 {
		e.Bytes(r.Verifier)
	}
	if parts&hasUndo != 0 {
		encodeRotation(e, *r.Undo)
	}
	if parts&hasReplaced != 0 {
		e.Bytes(r.Replaced.ID[:])
		e.Bytes(r.Replaced.Verifier)
		encodeRotation(e, r.Replaced.Rotation)
	}
	if parts&hasFamily != 0 {
		e.String(r.Family.Tag)
		e.String(r.Family.Before)
		e.Uint(uint64(len(r.Family.Retries)))
		for _, t := range r.Family.Retries {
			e.Bytes(t.Verifier)
			e.Time(t.Until)
			e.Bytes(t.Sealed)
		}
	}
}

func encodeRotation(e *Encoder, s token.RotationState) {
	e.Time(s.RotatedAt)
	e.Bytes(s.Previous)
	e.Time(s.PreviousUntil)
	e.Bool(s.PreviousUntilUsed)
}

func decodeRotation(d *Decoder) (s token.RotationState) {
	s.RotatedAt = d.Time()
	s.Previous = d.Bytes()
	s.PreviousUntil = d.Time()
	s.PreviousUntilUsed = d.Bool()
	return s
}

func decodeToken(d *Decoder, r *token.Record) {
	parts := d.Uint()
	r.Kind = token.Kind(d.Uint())
	r.Revision = d.Uint()
	r.LastChange = token.Change(d.Uint())
	r.Owner = d.Owner()
	r.CreatedAt = d.Time()
	r.CreatedBy = r.Owner
	if parts&hasMaker != 0 {
		r.CreatedBy = d.Owner()
	}
	if parts&hasExpiry != 0 {
		r.ExpiresAt = d.Time()
	}
	if parts&hasName != 0 {
		r.Name = d.String()
	}
	if parts&hasService != 0 {
		r.Service = d.String()
	}
	if parts&hasConnection != 0 {
		r.Connection, r.Audience = d.String(), d.String()
	}
	if parts&hasRoles != 0 {
		r.Roles = d.Roles()
	}
	if parts&hasSuspension != 0 {
		r.SuspendedAt, r.SuspendedUntil = d.Time(), d.Time()
	}
	if parts&hasRevocation != 0 {
		r.RevokedAt, r.RevokedBy, r.RevokedReason = d.Time(), d.Owner(), d.String()
	}
	if parts&hasRotation != 0 {
		r.SetRotationState(decodeRotation(d))
	}
	if parts&hasVerifier != 0 {
		r.Verifier = d.Bytes()
	}
	if parts&hasUndo != 0 {
		undo := decodeRotation(d)
		if !d.brief {
			r.Undo = &undo
		}
	}
	if parts&hasReplaced != 0 {
		var was token.Replaced
		copy(was.ID[:], d.Bytes())
		was.Verifier = d.Bytes()
		was.Rotation = decodeRotation(d)
		if !d.brief {
			r.Replaced = &was
		}
	}
	if parts&hasFamily != 0 {
		f := token.Family{Tag: d.String(), Before: d.String(), Retries: decodeRetries(d)}
		if !d.brief {
			r.Family = &f
		}
	}
}

// decodeRetries reads what is three bytes each at least.
func decodeRetries(d *Decoder) (list []token.Retry) {
	n := d.Uint()
	if n > uint64(len(d.rest)/3) {
		d.fail("retries cut short")
		return nil
	}
	for range n {
		list = append(list, token.Retry{Verifier: d.Bytes(), Until: d.Time(), Sealed: d.Bytes()})
	}
	return list
}

// GetToken reads the record of an id, or fails with [ErrNotFound].
func GetToken(r Reader, id token.ID) (token.Record, error) {
	key := tokenKey(id)
	b, err := r.Get(key)
	if err != nil {
		return token.Record{}, err
	}
	rec := token.Record{ID: id}
	err = Unmarshal(key, b, tokenVersion, func(d *Decoder) { decodeToken(d, &rec) })
	return rec, err
}

// slotKey is the key of the slot that a token holds while it lives: an owner
// has one user token, one token per service, and one refresh token of a name.
// A refresh token without a name holds none.
func slotKey(r *token.Record) (Key, bool) {
	name := r.Name
	switch r.Kind {
	case token.Service:
		name = r.Service
	case token.Refresh:
		if name == "" {
			return nil, false
		}
	}
	return NewKey(tableSlots).Owner(r.Owner).Text(r.Kind.String()).Text(name), true
}

// Slot reads which token holds the slot that a token like want would take:
// one with its owner, kind and name or service. The holder may have ended; a
// slot without holder is [ErrNotFound].
func Slot(r Reader, want *token.Record) (token.Record, error) {
	key, ok := slotKey(want)
	if !ok {
		return token.Record{}, ErrNotFound
	}
	return indexed(r, key)
}

func indexed(r Reader, key Key) (token.Record, error) {
	b, err := r.Get(key)
	if err != nil {
		return token.Record{}, err
	}
	var id token.ID
	if len(b) != len(id) {
		return token.Record{}, fmt.Errorf("%w: no id under key %x", ErrDamaged, []byte(key))
	}
	copy(id[:], b)
	rec, err := GetToken(r, id)
	if errors.Is(err, ErrNotFound) {
		return rec, fmt.Errorf("%w: key %x names token %s, which is not there", ErrDamaged, []byte(key), id)
	}
	return rec, err
}

// EndedTokens reads the ids of at most limit tokens that expired or were
// revoked before a time.
func EndedTokens(r Reader, before time.Time, limit int) ([]token.ID, error) {
	var ids []token.ID
	for e, err := range r.Scan(NewKey(tableEnds), nil) {
		if err != nil {
			return nil, err
		}
		k := ReadKey(e.Key)
		end, id := k.Uint64(), k.ID()
		if err := k.Err(); err != nil {
			return nil, err
		}
		if len(ids) == limit || int64(end) >= before.Unix() {
			break
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// End is when a token expired, expires or was revoked; zero: it does not.
func End(r *token.Record) time.Time {
	if !r.RevokedAt.IsZero() {
		return r.RevokedAt
	}
	return r.ExpiresAt
}

// PutToken writes a token with its indexes. was is the record as it was read
// in the same Update, nil for a new one, which takes its slot from whoever
// holds it: the caller has made sure, by [Slot], that nobody living does. So does
// a tombstone that becomes a token again.
func PutToken(w Writer, was, now *token.Record) error {
	if was != nil && (was.ID != now.ID || was.Owner != now.Owner || was.Kind != now.Kind || was.Name != now.Name || was.Service != now.Service) {
		return fmt.Errorf("token %s: id, owner, kind, name and service never change", was.ID)
	}
	if was != nil && !End(was).IsZero() && End(was) != End(now) {
		if err := w.Delete(NewKey(tableEnds).Time(End(was)).ID(was.ID)); err != nil {
			return err
		}
	}
	var keys []Key
	if was == nil || !was.RevokedAt.IsZero() && now.RevokedAt.IsZero() {
		keys = slotKeys(now)
	}
	if was == nil {
		keys = append(keys, NewKey(tableOwners).Owner(now.Owner).ID(now.ID))
	}
	for _, key := range keys {
		if err := w.Put(key, now.ID[:]); err != nil {
			return err
		}
	}
	if t := End(now); !t.IsZero() && (was == nil || t != End(was)) {
		if err := w.Put(NewKey(tableEnds).Time(t).ID(now.ID), nil); err != nil {
			return err
		}
	}
	if !now.RevokedAt.IsZero() {
		if err := leaveSlot(w, now); err != nil {
			return err
		}
	}
	key := tokenKey(now.ID)
	// Written in the oldest version that holds it, for older readers.
	version := byte(1)
	switch {
	case now.Family != nil:
		version = 3
	case now.Replaced != nil:
		version = 2
	}
	return w.Put(key, Marshal(key, version, func(e *Encoder) { encodeToken(e, now) }))
}

// DeleteToken removes a token with its indexes. was is the record as it was
// read in the same Update.
func DeleteToken(w Writer, was *token.Record) error {
	if err := leaveSlot(w, was); err != nil {
		return err
	}
	keys := []Key{
		tokenKey(was.ID),
		NewKey(tableOwners).Owner(was.Owner).ID(was.ID),
		NewKey(tableUses).ID(was.ID),
	}
	if t := End(was); !t.IsZero() {
		keys = append(keys, NewKey(tableEnds).Time(t).ID(was.ID))
	}
	for _, key := range keys {
		if err := w.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// slotKeys are the keys under which the id of a token stands while it holds
// its slot.
func slotKeys(r *token.Record) []Key {
	var keys []Key
	if key, ok := slotKey(r); ok {
		keys = append(keys, key)
	}
	if r.Kind == token.Service {
		keys = append(keys, NewKey(tableService).Text(r.Service).Owner(r.Owner))
	}
	return keys
}

// leaveSlot frees the slot of a token, unless a successor holds it already.
func leaveSlot(w Writer, r *token.Record) error {
	for _, key := range slotKeys(r) {
		holder, err := w.Get(key)
		if errors.Is(err, ErrNotFound) || err == nil && string(holder) != string(r.ID[:]) {
			continue
		}
		if err != nil {
			return err
		}
		if err := w.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

const useVersion = 1

// GetUse reads when a token was last used; never is the zero [token.Use].
func GetUse(r Reader, id token.ID) (token.Use, error) {
	key := NewKey(tableUses).ID(id)
	b, err := r.Get(key)
	if errors.Is(err, ErrNotFound) {
		return token.Use{}, nil
	}
	if err != nil {
		return token.Use{}, err
	}
	var u token.Use
	err = Unmarshal(key, b, useVersion, func(d *Decoder) { u.At, u.From = d.Time(), d.String() })
	return u, err
}

// PutUse writes when a token was last used.
func PutUse(w Writer, id token.ID, u token.Use) error {
	key := NewKey(tableUses).ID(id)
	return w.Put(key, Marshal(key, useVersion, func(e *Encoder) {
		e.Time(u.At)
		e.String(u.From)
	}))
}
