package cmd

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/ldap"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/provision/exec"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// fileProvisioner is what may stand in the list provisioners of the config file.
type fileProvisioner struct {
	Name   string `yaml:"name"`
	Kind   string `yaml:"kind"`
	Order  int    `yaml:"order"`
	Scheme string `yaml:"scheme"`

	// Of kind ldap.
	Directory string `yaml:"directory"`
	Attribute string `yaml:"attribute"`

	// Of kind exec.
	Command                   []string `yaml:"command"`
	Timeout                   string   `yaml:"timeout"`
	Realms                    []string `yaml:"realms"`
	InsecurePlaintextPassword bool     `yaml:"insecure_plaintext_password"`
}

// execKind is a command of the administrator's own.
const execKind = "exec"

// noProvisioner takes all provisioners away from a service.
const noProvisioner = "none"

// insecureClearText is the setting without which no provisioner of kind ldap
// writes passwords in clear.
const insecureClearText = "insecure_cleartext_userpassword"

type encoder func(context.Context, secret.Scheme, secret.Secret) ([]byte, error)

// open makes the provisioner. No other system is spoken to yet.
func (f *fileProvisioner) open(s *settings, dirs []directory.Directory, encode encoder) (provision.Provisioner, error) {
	if err := token.CheckName("name of a provisioner", f.Name); err != nil {
		return nil, err
	}
	if f.Name == noProvisioner {
		return nil, f.wrong("the name stands for no provisioner at all")
	}
	switch f.Kind {
	case ldapKind:
		return f.openLDAP(s, dirs, encode)
	case execKind:
		return f.openExec(encode)
	case "":
		return nil, f.wrong("it has no kind").WithHint("kinds are ldap and exec")
	}
	return nil, f.wrong("the kind %q is unknown", f.Kind).WithHint("kinds are ldap and exec")
}

func (f *fileProvisioner) openLDAP(s *settings, dirs []directory.Directory, encode encoder) (provision.Provisioner, error) {
	if len(f.Command) > 0 || f.Timeout != "" || len(f.Realms) > 0 || f.InsecurePlaintextPassword {
		return nil, f.wrong("of kind ldap it has name, kind, order, directory, attribute and scheme alone")
	}
	o := ldap.ProvisionerOptions{Name: f.Name, Order: f.Order, Attribute: f.Attribute, Encode: encode}
	switch {
	case strings.EqualFold(f.Scheme, "cleartext") && !s.InsecureClearText():
		return nil, f.wrong("passwords in clear text can be read by whoever reads the directory").
			WithHint("use the scheme ARGON2 or CRYPT; --insecure-cleartext-userpassword insists")
	case strings.EqualFold(f.Scheme, "cleartext"):
		o.Scheme = secret.InsecureClearText
	case f.Scheme != "":
		var err error
		if o.Scheme, err = secret.ParseScheme(f.Scheme); err != nil {
			return nil, f.wrong("%w", err)
		}
	}
	if !s.hasDirectory(f.Directory) {
		return nil, f.wrong("there is no directory %q", f.Directory).WithHint("name one of the list directories, of kind ldap")
	}
	for _, d := range dirs {
		if server, is := d.(*ldap.Directory); is && d.Realm() == f.Directory {
			p, err := ldap.NewProvisioner(server, o)
			if err != nil {
				return nil, f.blame(err)
			}
			return p, nil
		}
	}
	return nil, f.wrong("the directory %q is not of kind ldap, or cannot be used", f.Directory)
}

func (f *fileProvisioner) openExec(encode encoder) (provision.Provisioner, error) {
	if f.Directory != "" || f.Attribute != "" {
		return nil, f.wrong("of kind exec it has no directory and no attribute")
	}
	o := exec.Options{
		Name: f.Name, Order: f.Order, Command: f.Command, Realms: f.Realms,
		InsecurePlaintextPassword: f.InsecurePlaintextPassword, Encode: encode,
	}
	if len(f.Command) == 0 || !filepath.IsAbs(f.Command[0]) {
		return nil, f.wrong("its command does not begin with the absolute path of a program").WithHint("for example command: [/usr/local/bin/tell-mail]")
	}
	var err error
	if f.Scheme != "" {
		if o.Scheme, err = secret.ParseScheme(f.Scheme); err != nil {
			return nil, f.wrong("%w", err)
		}
	}
	if f.Timeout != "" {
		if o.Timeout, err = time.ParseDuration(f.Timeout); err != nil || o.Timeout <= 0 {
			return nil, f.wrong("the timeout %q is not a time above 0", f.Timeout).WithHint("write a number and a unit: 10s")
		}
	}
	return exec.New(o)
}

func (f *fileProvisioner) wrong(format string, args ...any) *token.Error {
	err := token.Errorf(token.ErrUsage, format, args...)
	err.Message = "the provisioner " + f.Name + ": " + err.Message
	return err
}

// blame says in which provisioner an error is that names its directory alone.
func (f *fileProvisioner) blame(err error) error {
	told := f.wrong("%w", err)
	var e *token.Error
	if errors.As(err, &e) {
		told.Hint = e.Hint
	}
	return told
}

func (s *settings) hasDirectory(name string) bool {
	for _, d := range s.directories {
		if d.Name == name {
			return true
		}
	}
	return false
}

// provisioners are those of the config file. One that cannot be used is told of
// in unusable, and is none.
func (a *app) provisioners(dirs []directory.Directory, encode encoder) (all []provision.Provisioner, unusable error, err error) {
	seen := map[string]bool{}
	for i := range a.settings.provisioners {
		f := &a.settings.provisioners[i]
		if seen[f.Name] {
			return nil, nil, token.Errorf(token.ErrUsage, "config file %s: two provisioners have the name %q", a.settings.path, f.Name)
		}
		seen[f.Name] = true
		p, err := f.open(a.settings, dirs, encode)
		if err != nil {
			if unusable == nil {
				unusable = inConfig(a.settings.path, err)
			}
			continue
		}
		all = append(all, p)
	}
	return all, unusable, nil
}

// checkProvisioners says which of the config file cannot be used.
func (a *app) checkProvisioners(dirs []directory.Directory) error {
	_, unusable, err := a.provisioners(dirs, func(context.Context, secret.Scheme, secret.Secret) ([]byte, error) { return nil, nil })
	if err == nil {
		err = unusable
	}
	return err
}

// deliveryPatience is how long a command waits for other systems in the end.
const deliveryPatience = 10 * time.Second

// deliverDue tells other systems of what this command has changed. What they do
// not take is tried again, by the next command or by tokenctl serve.
func (a *app) deliverDue(local *authority.Local) {
	if a.toldPending || a.ended.Err() != nil { // it was tried, or nobody waits for it
		return
	}
	ctx, cancel := context.WithTimeout(a.ended, deliveryPatience)
	defer cancel()
	pending, err := local.DeliverDue(ctx)
	if err != nil && ctx.Err() == nil {
		a.warn(err)
	}
	if len(pending) > 0 {
		a.complain("%s not reached other systems yet; see tokenctl admin provision list --pending", several(len(pending), "change")+have(len(pending)))
	}
}

func have(n int) string {
	if n == 1 {
		return " has"
	}
	return " have"
}

// completeProvisioners offers the provisioners of the config file.
func (a *app) completeProvisioners(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	if err := a.settings.load(); err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var list []string
	for _, p := range a.settings.provisioners {
		list = append(list, described(p.Name, p.Kind))
	}
	return list, cobra.ShellCompDirectiveNoFileComp
}

// completeServices offers the services.
func (a *app) completeServices(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && c.ValidArgsFunction != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.candidates(c, func(ctx context.Context, s authority.Service) (list []string) {
		for svc, err := range s.ListServices(ctx) {
			if err != nil || len(list) >= completeMost {
				break
			}
			list = append(list, described(svc.Name, svc.DisplayName))
		}
		return list
	})
}
