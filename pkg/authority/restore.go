package authority

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// RestoreOptions say what is restored where.
type RestoreOptions struct {
	Backup io.ReadSeeker
	// Into is an empty store that nobody else knows of yet.
	Into store.Store
	// Present is the store that Into is to replace; nil if it cannot be read.
	Present store.Store
	Keys    *keyfile.Keys
	By      Caller
	Now     func() time.Time // nil: [time.Now]
}

// RestoreReport is what a restore has brought back.
type RestoreReport struct {
	Taken  time.Time `json:"backup_taken_at"`
	Tokens int       `json:"tokens"`
	// Continues says that the present store is a later state of the backup. Then
	// nothing comes back to life that was ended in between; else later
	// revocations are lost.
	Continues bool `json:"continues"`
	Kept      int  `json:"changes_kept"` // tokens and accounts as they are now
}

// Restore fills an empty store from a backup, whose checksum it checks before
// it writes. What was ended since the backup was taken stays ended, as far as
// the present store tells: revoked and deleted tokens, secrets and signing keys
// that were rotated, accounts that were disabled or deleted, roles that were
// taken away. And connections rotate no less than now.
func Restore(ctx context.Context, o RestoreOptions) (rep RestoreReport, err error) {
	if rep.Taken, err = copyBackup(ctx, o.Backup, nil); err != nil {
		return rep, err
	}
	if _, err = copyBackup(ctx, o.Backup, o.Into); err != nil {
		return rep, err
	}
	by := o.By
	by.FileOwner = false // no account is made that was not in the backup
	s := &session{Local: New(Options{Store: o.Into, Keys: o.Keys, Now: o.Now}), caller: by}
	if o.Present != nil {
		if err := s.keepEndings(ctx, o.Present, &rep); err != nil {
			return rep, err
		}
	}
	// What other systems were told since, they were told.
	present := o.Present
	if !rep.Continues {
		present = nil
	}
	if err := provision.Keep(ctx, present, o.Into, s.clock()); err != nil {
		return rep, err
	}
	if rep.Tokens, err = s.soundTokens(ctx); err != nil {
		return rep, err
	}
	return rep, s.update(ctx, func(c *change) error {
		detail := fmt.Sprintf("backup of %s, %d later endings kept", rep.Taken.Format(time.RFC3339), rep.Kept)
		if !rep.Continues {
			detail = fmt.Sprintf("backup of %s, later endings are lost", rep.Taken.Format(time.RFC3339))
		}
		c.note(audit.Entry{Action: "store.restore", Detail: detail})
		return nil
	})
}

// copyBackup reads a backup to its end, and into a store unless that is nil.
func copyBackup(ctx context.Context, in io.ReadSeeker, into store.Store) (taken time.Time, err error) {
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return taken, token.Errorf(token.ErrCannotTell, "the backup cannot be read: %w", err)
	}
	b, err := store.OpenBackup(in)
	if err != nil {
		return taken, err
	}
	var batch []store.Entry
	write := func() error {
		if into == nil || len(batch) == 0 {
			return nil
		}
		err := into.Update(ctx, func(w store.Writer) error {
			for _, e := range batch {
				if err := w.Put(e.Key, e.Value); err != nil {
					return err
				}
			}
			return nil
		})
		batch = batch[:0]
		return err
	}
	for e, err := range b.Entries() {
		if err != nil {
			return taken, err
		}
		if into == nil {
			continue
		}
		batch = append(batch, store.Entry{Key: append([]byte(nil), e.Key...), Value: append([]byte(nil), e.Value...)})
		if len(batch) == into.Limit() {
			if err := write(); err != nil {
				return taken, err
			}
		}
	}
	return b.Taken, write()
}

// soundTokens counts the tokens of a restored store, all of whose records must
// be readable.
func (s *session) soundTokens(ctx context.Context) (n int, err error) {
	for found, err := range store.Inspect(ctx, s.store, true, s.now) {
		if err != nil {
			return n, err
		}
		if found.Problem != "" {
			return n, token.Errorf(token.ErrCannotTell, "the backup holds damage: %s", found.Problem)
		}
		if !found.Index {
			n++
		}
	}
	return n, nil
}

// keepEndings carries over what was ended between the backup and now.
func (s *session) keepEndings(ctx context.Context, present store.Store, rep *RestoreReport) error {
	var after uint64
	err := present.View(ctx, func(later store.Reader) error {
		return s.store.View(ctx, func(earlier store.Reader) (err error) {
			after, rep.Continues, err = s.log.Continues(later, earlier)
			return err
		})
	})
	if err != nil || !rep.Continues {
		return err
	}
	if err := s.keepTokens(ctx, present, rep); err != nil {
		return err
	}
	for e, err := range s.log.List(ctx, present, audit.Filter{After: after}) {
		if err == nil && (e.Action == "token.delete" || e.Action == "token.forget") {
			err = s.keepDeleted(ctx, e, rep)
		}
		if err != nil {
			return err
		}
	}
	if err := s.keepAccounts(ctx, present, rep); err != nil {
		return err
	}
	if err := s.keepRefused(ctx, present, rep); err != nil {
		return err
	}
	if err := s.keepServices(ctx, present, rep); err != nil {
		return err
	}
	if err := s.keepConnections(ctx, present, rep); err != nil {
		return err
	}
	if err := s.keepProviders(ctx, present, rep); err != nil {
		return err
	}
	if err := s.keepEndedAccess(ctx, present); err != nil {
		return err
	}
	// A signing key that was replaced since may have been replaced in haste.
	return present.View(ctx, func(now store.Reader) error {
		return s.store.Update(ctx, func(w store.Writer) error { return s.signer.CopyKeys(now, w) })
	})
}

// keepTokens takes every token that has changed since as it is now.
func (s *session) keepTokens(ctx context.Context, present store.Store, rep *RestoreReport) error {
	for t, err := range store.WalkTokens(ctx, present, time.Time{}, time.Time{}, token.ID{}) {
		if err != nil {
			return err
		}
		var was token.Record
		err := s.store.View(ctx, func(r store.Reader) (err error) {
			was, err = store.GetToken(r, t.ID)
			return err
		})
		missing := errors.Is(err, store.ErrNotFound)
		if err != nil && !missing {
			return err
		}
		// One that was made later, and lives, is not in the backup.
		if missing && t.RevokedAt.IsZero() {
			continue
		}
		var now token.Record
		err = present.View(ctx, func(r store.Reader) (err error) {
			now, err = store.GetToken(r, t.ID) // with its verifier
			return err
		})
		if err != nil {
			return err
		}
		if !missing && !changedSince(&was, &now) {
			continue
		}
		before := &was
		if missing {
			before = nil
		}
		rep.Kept++
		if err := s.store.Update(ctx, func(w store.Writer) error { return store.PutToken(w, before, &now) }); err != nil {
			return err
		}
	}
	return nil
}

// changedSince says whether a token is another than it was. An exchange that
// rotates leaves the revision, and two of them may be in the same second.
func changedSince(was, now *token.Record) bool {
	return was.Revision < now.Revision || !now.RotatedAt.IsZero() && string(was.Verifier) != string(now.Verifier)
}

// keepDeleted makes a tombstone of a token that was deleted since.
func (s *session) keepDeleted(ctx context.Context, e audit.Entry, rep *RestoreReport) error {
	kept := false
	err := s.store.Update(ctx, func(w store.Writer) error {
		kept = false
		was, err := store.GetToken(w, e.Token)
		if errors.Is(err, store.ErrNotFound) || err == nil && !was.RevokedAt.IsZero() {
			return nil
		}
		if err != nil {
			return err
		}
		rec := was
		rec.Bury(e.Time, e.Actor, "deleted after the backup was taken")
		rec.Revision++
		rec.LastChange, kept = token.Other, true
		return store.PutToken(w, &was, &rec)
	})
	rep.count(kept)
	return err
}

// keepAccounts gives nobody back what was taken away since: an account that is
// disabled or gone now is disabled, and roles are at most those of now.
func (s *session) keepAccounts(ctx context.Context, present store.Store, rep *RestoreReport) error {
	for was, err := range store.Accounts.Pages(ctx, s.store) {
		if err != nil {
			return err
		}
		var now token.Account
		err := present.View(ctx, func(r store.Reader) (err error) {
			now, err = store.Accounts.Get(r, was.Owner.Realm, was.Owner.Name)
			return err
		})
		gone := errors.Is(err, store.ErrNotFound)
		if err != nil && !gone {
			return err
		}
		then := was
		then.Disabled = was.Disabled || gone || now.Disabled
		if !gone {
			then.Roles = slices.DeleteFunc(slices.Clone(was.Roles), func(r token.Role) bool { return !slices.Contains(now.Roles, r) })
			// An old password may be why it was changed, and an old entry is of
			// another person.
			then.Password, then.WrongPasswords = now.Password, now.WrongPasswords
			then.EntryID, then.Successor, then.DirectoryRoles, then.RolesAt = now.EntryID, now.Successor, now.DirectoryRoles, now.RolesAt
			then.Identities = stillLinked(&was, &now)
		}
		if sameRights(&then, &was) {
			continue
		}
		then.Revision = max(was.Revision, now.Revision) + 1
		rep.Kept++
		if err := s.store.Update(ctx, func(w store.Writer) error { return putRestored(w, &was, &then) }); err != nil {
			return err
		}
	}
	return nil
}

// keepServices gives no service back what was taken from it since: one that is
// disabled or gone now is disabled, and provisioners are at most those of now.
func (s *session) keepServices(ctx context.Context, present store.Store, rep *RestoreReport) error {
	for was, err := range store.Services.Pages(ctx, s.store) {
		if err != nil {
			return err
		}
		var now token.ServiceConfig
		err := present.View(ctx, func(r store.Reader) (err error) {
			now, err = store.Services.Get(r, was.Name)
			return err
		})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		then := was
		then.Enabled = was.Enabled && now.Enabled // one that is gone is not
		then.Provisioners = slices.DeleteFunc(slices.Clone(was.Provisioners), func(p string) bool { return !slices.Contains(now.Provisioners, p) })
		if then.Enabled == was.Enabled && len(then.Provisioners) == len(was.Provisioners) {
			continue
		}
		then.Revision = max(was.Revision, now.Revision) + 1
		rep.Kept++
		if err := s.store.Update(ctx, func(w store.Writer) error { return store.Services.Put(w, then) }); err != nil {
			return err
		}
	}
	return nil
}

// keepConnections has no connection rotate less than now: a refresh token that
// was stolen would be good for as long as it lives again. Client secrets are those
// of now: an old one may be why it was renewed.
func (s *session) keepConnections(ctx context.Context, present store.Store, rep *RestoreReport) error {
	for was, err := range store.Connections.Pages(ctx, s.store) {
		if err != nil {
			return err
		}
		var now token.Connection
		err := present.View(ctx, func(r store.Reader) (err error) {
			now, err = store.Connections.Get(r, was.Name)
			return err
		})
		gone := errors.Is(err, store.ErrNotFound)
		if err != nil && !gone {
			return err
		}
		then := was
		then.RotateNoLess(&now)
		if !gone {
			then.AuthMethod, then.SecretVerifier, then.SecretSince = now.AuthMethod, now.SecretVerifier, now.SecretSince
		}
		if reflect.DeepEqual(then, was) {
			continue
		}
		then.Revision = max(was.Revision, now.Revision) + 1
		rep.Kept++
		if err := s.store.Update(ctx, func(w store.Writer) error { return store.Connections.Put(w, then) }); err != nil {
			return err
		}
	}
	return nil
}

func sameRights(a, b *token.Account) bool {
	return a.Disabled == b.Disabled && slices.Equal(a.Roles, b.Roles) && slices.Equal(a.DirectoryRoles, b.DirectoryRoles) &&
		a.EntryID == b.EntryID && a.Successor == b.Successor && string(a.Password) == string(b.Password) && a.WrongPasswords == b.WrongPasswords &&
		sameIdentities(a, b)
}

func (rep *RestoreReport) count(kept bool) {
	if kept {
		rep.Kept++
	}
}
