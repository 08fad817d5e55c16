package cmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/keyfile"
	"github.com/tokenctl/tokenctl/pkg/privatefile"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/store/bolt"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminRestoreCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of the store",
		Long: `Put a backup in the place of the store in a local file, after it was verified to
its end; serve must not be running. The key file has to be there: it is not in
the backup. What was ended since the backup was taken stays ended, and
connections rotate no less than now, as far as the present store can be read and
continues it. Where it does not, those tokens come back to life, and you are
told.

Nothing is overwritten without a yes. The store is replaced in one moment.`,
		Example: `  tokenctl admin restore /var/backups/tokens-monday
  tokenctl admin restore tokens-monday --store bolt:///srv/tokens.db --yes`,
		Args: fileArgument,
		RunE: func(c *cobra.Command, args []string) error {
			path, err := a.localStore("admin restore")
			if err != nil {
				return err
			}
			rep, err := restore(c.Context(), a, path, args[0])
			if err != nil {
				return err
			}
			a.say("restored %d tokens from the backup of %s", rep.Tokens, rep.Taken.Format(time.RFC3339))
			if rep.Continues {
				a.say("%d later changes that ended something were kept", rep.Kept)
			} else {
				a.complain("what was revoked, deleted or disabled after that is so no longer: end it again")
				if len(a.settings.provisioners) > 0 {
					a.complain("passwords that other systems were told of after that stay there: look for them")
				}
			}
			if len(a.settings.provisioners) > 0 {
				if _, err := a.service(c.Context()); err != nil {
					return err
				}
				if a.held != nil {
					a.deliverDue(a.held.rules)
				}
			}
			if !a.settings.FormatSet() {
				return nil
			}
			return answer(c.Context(), a, render.Object[authority.RestoreReport](), rep)
		},
	}
}

// restore asks and then replaces the store. What it asks it knows from a trial,
// since the lock is not held while a person thinks.
func restore(ctx context.Context, a *app, path, name string) (rep authority.RestoreReport, err error) {
	info, err := os.Stat(name)
	if err != nil {
		return rep, token.Errorf(token.ErrUsage, "the backup cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return rep, token.Errorf(token.ErrUsage, "the backup %s is not a regular file", name)
	}
	backup, err := os.Open(name)
	if err != nil {
		return rep, token.Errorf(token.ErrUsage, "the backup cannot be read: %w", err)
	}
	defer backup.Close()
	r := &restoring{app: a, backup: backup, path: path}
	if r.keys, err = keyfile.Open(keyFilePath(path)); err != nil {
		return rep, keyError(err)
	}
	if r.real, err = filepath.EvalSymlinks(path); errors.Is(err, fs.ErrNotExist) {
		r.real, err = path, nil
	}
	if err != nil {
		return rep, token.Errorf(token.ErrCannotTell, "the store cannot be reached: %w", err)
	}
	if a.settings.Yes() {
		return r.run(ctx, true)
	}
	trial, err := r.run(ctx, false)
	if err != nil {
		return rep, err
	}
	if err := a.confirm(r.question(trial)); err != nil {
		return rep, err
	}
	r.expect = &trial
	return r.run(ctx, true)
}

// restoring is one restore.
type restoring struct {
	*app
	backup     *os.File
	path, real string // of the store, as named and where that leads
	keys       *keyfile.Keys
	unreadable error                    // why the present store cannot be asked
	expect     *authority.RestoreReport // what the person has agreed to
}

func (r *restoring) question(trial authority.RestoreReport) string {
	taken := trial.Taken.Format(time.RFC3339)
	switch {
	case errors.Is(r.unreadable, fs.ErrNotExist):
		return fmt.Sprintf("there is no store at %s to tell what was revoked after %s, which will be so no longer; restore %d tokens?", r.path, taken, trial.Tokens)
	case r.unreadable != nil:
		return fmt.Sprintf("the present store cannot tell what was revoked after %s, which will be so no longer (%v); replace it by %d tokens?", taken, r.unreadable, trial.Tokens)
	case !trial.Continues:
		return fmt.Sprintf("the present store does not continue the backup of %s: what was revoked after that will be so no longer; replace it by %d tokens?", taken, trial.Tokens)
	}
	return fmt.Sprintf("replace the store %s by the backup of %s, with %d tokens?", r.path, taken, trial.Tokens)
}

// run restores into a folder of its own and, in earnest, puts that in the place
// of the present store, which it has locked from before it read it.
func (r *restoring) run(ctx context.Context, earnest bool) (rep authority.RestoreReport, err error) {
	present, err := r.open(earnest)
	if err != nil {
		return rep, err
	}
	closed := false
	letGo := func() {
		if present != nil && !closed {
			r.warnOf(present.Close())
			closed = true
		}
	}
	defer letGo()
	folder, err := os.MkdirTemp(filepath.Dir(r.real), ".tokenctl-restore-*") // 0700
	if err != nil {
		return rep, token.Errorf(token.ErrCannotTell, "the store cannot be restored: %w", err)
	}
	defer os.RemoveAll(folder)
	fresh := filepath.Join(folder, "tokens.db")
	if rep, err = r.fill(ctx, fresh, present); err != nil || !earnest {
		return rep, err
	}
	if r.expect != nil && rep.Continues != r.expect.Continues {
		return rep, token.Errorf(token.ErrConflict, "the store was changed meanwhile, nothing was restored").WithHint("try again")
	}
	if runtime.GOOS == "windows" {
		letGo() // it replaces no open file
	}
	return rep, r.replace(fresh)
}

// open opens the present store, or says in unreadable why it cannot.
func (r *restoring) open(earnest bool) (store.Store, error) {
	s, err := bolt.Open(bolt.Options{Path: r.path, Exclusive: earnest, LockTimeout: r.settings.Timeout()})
	if err == nil {
		if r.unreadable != nil {
			s.Close()
			return nil, token.Errorf(token.ErrConflict, "there is a store now, nothing was restored").WithHint("try again")
		}
		return s, nil
	}
	if errors.Is(err, bolt.ErrBusy) {
		return nil, token.Errorf(token.ErrCannotTell, "%w", err).WithHint("end it first: the store is replaced while nobody has it")
	}
	if r.expect != nil && r.unreadable == nil {
		return nil, err
	}
	r.unreadable = err
	return nil, nil
}

// fill makes a store of the backup that is complete on the disk.
func (r *restoring) fill(ctx context.Context, path string, present store.Store) (rep authority.RestoreReport, err error) {
	caller, err := fileOwner(systemUser())
	if err != nil {
		return rep, err
	}
	if err := bolt.Create(path); err != nil {
		return rep, err
	}
	// One fsync in the end does what thousands would on the way.
	into, err := bolt.Open(bolt.Options{Path: path, Exclusive: true, NoSync: true})
	if err != nil {
		return rep, err
	}
	p := r.progress("restoring", true)
	rep, err = authority.Restore(ctx, authority.RestoreOptions{
		Backup: r.backup, Into: into, Present: present, Keys: r.keys, By: caller,
	})
	p.Done()
	if closeErr := into.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return rep, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	return rep, written(err)
}

// replace puts the new store in its place. Where none was, none that somebody
// else has just begun is overwritten.
func (r *restoring) replace(fresh string) error {
	move := os.Rename
	if errors.Is(r.unreadable, fs.ErrNotExist) {
		move = os.Link
	}
	if err := move(fresh, r.real); err != nil {
		return token.Errorf(token.ErrCannotTell, "the store cannot be put in its place, nothing was restored: %w", err)
	}
	if err := privatefile.SyncFolder(filepath.Dir(r.real)); err != nil {
		return token.Errorf(authority.ErrOutcomeUnknown, "the store is restored, but may not outlast a crash: %w", err)
	}
	return nil
}

func (r *restoring) warnOf(err error) {
	if err != nil {
		r.warn(err)
	}
}
