package cmd

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"reflect"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/directory/list"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/ldap"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// fileDirectory is what may stand in the list directories of the config file.
type fileDirectory struct {
	Name   string `yaml:"name"` // the realm
	Kind   string `yaml:"kind"`
	Canary string `yaml:"canary"`

	File string `yaml:"file"` // of kind list

	// All else is of kind ldap.
	URL                        string          `yaml:"url"`
	StartTLS                   bool            `yaml:"start_tls"`
	CAFile                     string          `yaml:"ca_file"`
	CertFile                   string          `yaml:"cert_file"`
	KeyFile                    string          `yaml:"key_file"`
	InsecureClearTextPasswords bool            `yaml:"insecure_clear_text_passwords"`
	BindDN                     string          `yaml:"bind_dn"`
	BindPasswordFile           string          `yaml:"bind_password_file"`
	BindExternal               bool            `yaml:"bind_external"`
	BaseDN                     string          `yaml:"base_dn"`
	UserFilter                 string          `yaml:"user_filter"`
	UserDN                     string          `yaml:"user_dn"`
	IDAttribute                string          `yaml:"id_attribute"`
	EntryIDAttribute           string          `yaml:"entry_id_attribute"`
	GroupBaseDN                string          `yaml:"group_base_dn"`
	GroupFilter                string          `yaml:"group_filter"`
	Roles                      []fileGroupRole `yaml:"roles"`
	DialTimeout                string          `yaml:"dial_timeout"`
	Timeout                    string          `yaml:"timeout"`
	Connections                int             `yaml:"connections"`
	Batch                      int             `yaml:"batch"`
}

// fileGroupRole gives the members of a group a role.
type fileGroupRole struct {
	Group string     `yaml:"group"`
	Role  token.Role `yaml:"role"`
}

// The kinds of directory.
const (
	listKind = "list"
	ldapKind = "ldap"
)

// open makes the directory, which was checked. No server is spoken to yet.
func (f *fileDirectory) open() (directory.Directory, error) {
	if f.Kind == listKind {
		return list.New(list.Options{Realm: f.Name, File: f.File, Canary: f.Canary})
	}
	o := ldap.Options{
		Realm: f.Name, URL: f.URL, StartTLS: f.StartTLS, CAFile: f.CAFile, CertFile: f.CertFile, KeyFile: f.KeyFile,
		InsecureClearTextPasswords: f.InsecureClearTextPasswords,
		BindDN:                     f.BindDN, BindPasswordFile: f.BindPasswordFile, BindExternal: f.BindExternal,
		BaseDN: f.BaseDN, UserFilter: f.UserFilter, UserDN: f.UserDN, IDAttribute: f.IDAttribute,
		EntryIDAttribute: f.EntryIDAttribute, Canary: f.Canary, GroupBaseDN: f.GroupBaseDN, GroupFilter: f.GroupFilter,
		Connections: f.Connections, Batch: f.Batch,
	}
	for _, r := range f.Roles {
		o.Roles = append(o.Roles, ldap.GroupRole{Group: r.Group, Role: r.Role})
	}
	var err error
	if o.DialTimeout, err = f.duration("dial_timeout", f.DialTimeout); err != nil {
		return nil, err
	}
	if o.Timeout, err = f.duration("timeout", f.Timeout); err != nil {
		return nil, err
	}
	return ldap.New(o)
}

// check says what no package behind would notice.
func (f *fileDirectory) check() error {
	if err := token.CheckName("name of a directory", f.Name); err != nil {
		return err
	}
	if f.Name == "Internal" {
		return token.Errorf(token.ErrUsage, "no directory can have the name Internal: clients of the user-token interface mean the realm local by it")
	}
	if _, err := directory.Fold(f.Name, "x"); err != nil { // local would be taken from the accounts here
		return err
	}
	switch f.Kind {
	case listKind:
		if only := (fileDirectory{Name: f.Name, Kind: f.Kind, Canary: f.Canary, File: f.File}); !reflect.DeepEqual(*f, only) {
			return f.wrong("of kind list it has name, kind, file and canary alone")
		}
	case ldapKind:
		if f.File != "" {
			return f.wrong("of kind ldap it has no file")
		}
	case "":
		return f.wrong("it has no kind").WithHint("kinds are list and ldap")
	default:
		return f.wrong("the kind %q is unknown", f.Kind).WithHint("kinds are list and ldap")
	}
	// Whatever folder we happen to be in means nothing.
	for key, path := range map[string]string{
		"file": f.File, "ca_file": f.CAFile, "cert_file": f.CertFile, "key_file": f.KeyFile, "bind_password_file": f.BindPasswordFile,
	} {
		if path != "" && !filepath.IsAbs(path) {
			return f.wrong("the %s %q is not an absolute path", key, path)
		}
	}
	return nil
}

// duration reads a time limit; empty is the default.
func (f *fileDirectory) duration(key, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 || d > token.Day {
		return 0, f.wrong("the %s %q is not a time between 0 and 24h", key, text).WithHint("write a number and a unit: 10s, 2m")
	}
	return d, nil
}

func (f *fileDirectory) wrong(format string, args ...any) *token.Error {
	err := token.Errorf(token.ErrUsage, format, args...)
	err.Message = "the directory " + f.Name + ": " + err.Message
	return err
}

// where is what a person looks for a directory by.
func (f *fileDirectory) where() string {
	if f.Kind == listKind {
		return f.File
	}
	return f.URL
}

// openDirectories makes the directories of the config file. For one that cannot
// be used there is a stand-in, and unusable says why.
func (s *settings) openDirectories() (dirs []directory.Directory, unusable, err error) {
	seen := map[string]bool{}
	for i := range s.directories {
		f := &s.directories[i]
		if seen[f.Name] {
			return nil, nil, token.Errorf(token.ErrUsage, "config file %s: two directories have the name %q", s.path, f.Name)
		}
		seen[f.Name] = true
		if err := f.check(); err != nil {
			return nil, nil, inConfig(s.path, err)
		}
	}
	for i := range s.directories {
		f := &s.directories[i]
		d, err := f.open()
		if err != nil {
			d = directory.Unavailable(f.Name, err)
			unusable = cmp.Or(unusable, inConfig(s.path, err))
		}
		dirs = append(dirs, d)
	}
	return dirs, unusable, nil
}

// realms are those of the config file: empty, not nil, if there are none.
func (s *settings) realms() []string {
	names := []string{}
	for _, f := range s.directories {
		names = append(names, f.Name)
	}
	return names
}

// inConfig says in which file something is wrong.
func inConfig(path string, err error) error {
	told := token.Errorf(token.ErrUsage, "config file %s: %w", path, err)
	var e *token.Error
	if errors.As(err, &e) {
		told.Hint = e.Hint
	}
	return told
}

// directories are those of the config file, until the command ends, for those
// who ask about directories: all can be used.
func (a *app) directories() ([]directory.Directory, error) {
	dirs, err := a.directoriesOrNot()
	if err != nil {
		return nil, err
	}
	return dirs, a.unusable
}

// directoriesOrNot are the same for commands over a file, which may need none of
// them: a directory whose files are gone stops only what asks it.
func (a *app) directoriesOrNot() ([]directory.Directory, error) {
	if a.dirs != nil {
		return a.dirs, nil
	}
	dirs, unusable, err := a.settings.openDirectories()
	if err != nil {
		return nil, err
	}
	for _, d := range dirs {
		a.onClose = append(a.onClose, d.Close)
	}
	a.dirs, a.unusable = dirs, unusable
	return dirs, nil
}

// heldFile is a local file that was opened, with the rules over it.
type heldFile struct {
	store  store.Store
	rules  *authority.Local
	caller authority.Caller
}

// orphans is the purge of orphans, wherever the tokens are: a server asks its
// own directories.
func (a *app) orphans(ctx context.Context) (orphans.Service, error) {
	s, err := a.service(ctx)
	if err != nil {
		return nil, err
	}
	if c, remote := s.(*httpapi.Client); remote {
		return c.Orphans(), nil
	}
	dirs, err := a.directories()
	if err != nil {
		return nil, err
	}
	return orphans.New(orphans.Options{Store: a.held.store, Rules: a.held.rules, Caller: a.held.caller, Directories: dirs}), nil
}
