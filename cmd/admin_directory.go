package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminDirectoryCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "directory",
		Short: "Directories: who exists, as others know it",
		Long: `Directories say who exists and who may log in: an LDAP server, or a file with
names. They stand in the config file, in the list directories; of a server, in
the config file there.`,
		Example: `  tokenctl admin directory list
  tokenctl admin directory test alice`,
	}
	asGroup(c)
	c.AddCommand(newAdminDirectoryListCommand(a), newAdminDirectoryTestCommand(a))
	return c
}

func newAdminDirectoryListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the directories of the config file",
		Long:    `List the directories of the config file, in its order. Nobody is asked.`,
		Example: `  tokenctl admin directory list -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := a.directories(); err != nil {
				return err
			}
			return answerList(c.Context(), a, directoryKind(), all(a.settings.directories), "no directories")
		},
	}
}

func directoryKind() render.Kind[fileDirectory] {
	name := func(f *fileDirectory) string { return f.Name }
	return render.Kind[fileDirectory]{
		Fields: func(f *render.Fields, d *fileDirectory) {
			f.Text("name", d.Name)
			f.Text("kind", d.Kind)
			f.Text("url", d.URL)
			f.Text("file", d.File)
			f.Text("canary", d.Canary)
		},
		Columns: []render.Column[fileDirectory]{
			{Header: "NAME", Text: name},
			{Header: "KIND", Text: func(f *fileDirectory) string { return f.Kind }},
			{Header: "WHERE", Text: (*fileDirectory).where},
			{Header: "CANARY", Text: func(f *fileDirectory) string { return f.Canary }, None: "none"},
		},
		Name: name,
	}
}

func newAdminDirectoryTestCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "test [USER]",
		Short: "Ask the directories and tell what they say",
		Long: `Ask every directory of the config file about a user, or realm/user of one, and
tell in plain words what it says. Without a user it is asked about its canary.
The exit code is 6 if a directory cannot tell, and 4 if no directory has the
user.`,
		Example: `  tokenctl admin directory test
  tokenctl admin directory test corp/alice -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			dirs, err := a.directories()
			if err != nil {
				return err
			}
			user := ""
			if len(args) > 0 {
				if user = args[0]; user == "" {
					return token.Errorf(token.ErrUsage, "the USER is empty")
				}
			}
			return testDirectories(c.Context(), a, dirs, user)
		},
	}
}

// sighting is what a directory said when it was asked.
type sighting struct {
	directory.Verdict
	realm string
	says  string // in plain words
	err   error  // why it could not be asked
}

func testDirectories(ctx context.Context, a *app, dirs []directory.Directory, user string) error {
	if len(dirs) == 0 {
		return token.Errorf(token.ErrUsage, "there is no directory to ask").WithHint("the config file names them, in the list directories")
	}
	var seen []sighting
	for _, d := range dirs {
		name, its := user, true
		if realm, rest, found := strings.Cut(user, "/"); found {
			name, its = rest, realm == d.Realm()
		}
		if its {
			seen = append(seen, sight(ctx, d, name))
		}
	}
	if len(seen) == 0 {
		return token.Errorf(token.ErrNotFound, "no directory has the realm of %q", user).WithHint("tokenctl admin directory list shows what there is")
	}
	if err := answerList(ctx, a, sightingKind(), all(seen), ""); err != nil {
		return err
	}
	var unsure []error
	present := false
	for _, s := range seen {
		if s.err != nil {
			unsure = append(unsure, s.err)
		}
		present = present || s.State == directory.Present
	}
	switch {
	case len(unsure) > 0:
		return token.Errorf(token.ErrCannotTell, "%d of %d directories cannot tell: %w", len(unsure), len(seen), unsure[0])
	case user != "" && !present:
		return token.Errorf(token.ErrNotFound, "no directory has %q", user)
	}
	return nil
}

// sight asks a directory about a user, or its canary.
func sight(ctx context.Context, d directory.Directory, name string) sighting {
	s := sighting{realm: d.Realm()}
	owner := d.Canary()
	if name != "" {
		if owner, s.err = d.Canonical(name); s.err != nil {
			s.says = "asks about nobody: " + s.err.Error()
			return s
		}
	}
	if owner.IsZero() {
		return sightNobody(ctx, d, s)
	}
	s.Verdict, s.err = d.Lookup(ctx, owner)
	if s.err == nil && s.State == directory.CannotTell {
		s.err = errors.New(s.Why)
	}
	switch {
	case s.err != nil:
		s.says = fmt.Sprintf("cannot tell about %s: %v", owner, s.err)
	case s.State == directory.Absent:
		s.says = fmt.Sprintf("%s is not there: %s", owner, s.Why)
	default:
		s.says = describe(&s.Identity)
	}
	s.Owner = owner
	return s
}

// sightNobody asks a directory without a canary about a name that nobody has.
func sightNobody(ctx context.Context, d directory.Directory, s sighting) sighting {
	nobody, err := d.Canonical("tokenctl-nobody")
	if err == nil {
		_, err = d.Presence(ctx, []token.Owner{nobody})
	}
	if s.err = err; err != nil {
		s.says = "cannot tell: " + err.Error()
		return s
	}
	s.says = "answers; whether it shows anybody at all, only a canary or a user could tell"
	return s
}

// describe tells of somebody who is there.
func describe(i *directory.Identity) string {
	text := i.Owner.String() + " is there"
	if i.DisplayName != "" {
		text += ", called " + i.DisplayName
	}
	if i.Disabled {
		text += ", and disabled"
	}
	if i.EntryID != "" {
		text += ", entry " + i.EntryID
	}
	if len(i.Groups) > 0 {
		text += "; groups: " + strings.Join(i.Groups, " | ")
	}
	if len(i.Roles) > 0 {
		text += "; roles: " + joined(i.Roles)
	}
	return text
}

func joined(roles []token.Role) string {
	var list []string
	for _, r := range roles {
		list = append(list, string(r))
	}
	return strings.Join(list, " ")
}

func sightingKind() render.Kind[sighting] {
	return render.Kind[sighting]{
		Fields: func(f *render.Fields, s *sighting) {
			f.Text("directory", s.realm)
			f.Owner("owner", s.Owner)
			f.Text("state", s.State.String())
			f.Text("says", s.says)
			f.Text("entry_id", s.EntryID)
			f.Text("display_name", s.DisplayName)
			f.Bool("disabled", s.Disabled)
			f.Text("groups", strings.Join(s.Groups, " | "))
			f.Roles("roles", s.Roles)
		},
		Columns: []render.Column[sighting]{
			{Header: "DIRECTORY", Text: func(s *sighting) string { return s.realm }},
			{Header: "SAYS", Text: func(s *sighting) string { return s.says }},
		},
	}
}
