package cmd

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminBackupCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a backup of the store to a new file",
		Long: `Write all that is in the store, as it is at one moment, to a new file that
nobody else can read, while everything goes on working. It ends with a checksum.
The key file is not in it: keep a copy of that in another place, for one is of
no use without the other, and both together are all secrets.`,
		Example: `  tokenctl admin backup /var/backups/tokens-monday`,
		Args:    fileArgument,
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.existing(c.Context())
			if err != nil {
				return err
			}
			p := a.progress("writing the backup", true)
			err = toNewFile(args[0], func(w io.Writer) error { return wholeBackup(c.Context(), s, w) })
			p.Done()
			if err != nil {
				return err
			}
			a.say("wrote %s", args[0])
			return a.sayWhereKeysAre()
		},
	}
}

// wholeBackup writes a backup and proves by its checksum that nothing is missing
// in it: a proxy may have cut it short.
func wholeBackup(ctx context.Context, s authority.Storage, w io.Writer) error {
	r, pipe := io.Pipe()
	proved := make(chan error, 1)
	go func() {
		err := store.CheckBackup(r)
		r.CloseWithError(err) // nobody reads on
		proved <- err
	}()
	err := s.Backup(ctx, io.MultiWriter(marked{w}, ignoring{pipe}))
	pipe.Close()
	if broken := <-proved; err == nil {
		err = broken
	}
	return err
}

// ignoring is a writer whose failures do not matter.
type ignoring struct{ w io.Writer }

func (i ignoring) Write(p []byte) (int, error) {
	_, _ = i.w.Write(p)
	return len(p), nil
}

// fileArgument is the one argument of commands that work on a file.
func fileArgument(c *cobra.Command, args []string) error {
	if err := exactly("FILE")(c, args); err != nil {
		return err
	}
	if args[0] == "" || args[0] == "-" {
		return token.Errorf(token.ErrUsage, "%q is not the name of a file", args[0])
	}
	return nil
}

// marked marks the errors of writing, as all answers do that are not written.
type marked struct{ w io.Writer }

func (m marked) Write(p []byte) (int, error) {
	n, err := m.w.Write(p)
	return n, written(err)
}

// sayWhereKeysAre says what a backup does not hold.
func (a *app) sayWhereKeysAre() error {
	t, err := a.target()
	if err != nil {
		return err
	}
	where := "beside the store of " + t.server
	if t.server == "" {
		path, err := storePath(t.store)
		if err != nil {
			return err
		}
		where = keyFilePath(path)
	}
	a.say("the key file is not in it: without a copy of that (%s) the backup is of no use", where)
	return nil
}
