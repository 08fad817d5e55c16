package cmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/pkg/wallet"
)

// tokenVariable is the variable of the environment that has a credential for a
// server. It is taken out of the environment before anything else is done, so
// that no program that we start gets it.
const tokenVariable = "TOKENCTL_TOKEN"

// target is where the tokens are: a server, or else a store.
type target struct {
	server  string
	store   string          // empty: the default
	from    string          // what says so
	context *wallet.Context // which has it, or nil
}

// shown is what config show has for a setting that a context can give.
func (t target) shown(name, value, origin string) (string, string) {
	if t.context == nil {
		return value, origin
	}
	given := map[string]string{"store": t.context.Store, "server": t.context.Server}
	switch {
	case name == "context" && t.from == fromContext:
		return t.context.Name, fromContext
	case given[name] != "":
		return given[name], fromContext
	case name == "ca_file" && t.context.CAFile != "" && origin != fromEnvironment:
		return t.context.CAFile, fromContext
	}
	return value, origin
}

// distance orders where settings come from: the nearest one counts.
var distance = map[string]int{fromFlag: 0, fromEnvironment: 1, fromContext: 2, fromFile: 3, fromDefault: 4}

// target finds out where the tokens are: what says so nearest counts. A context
// that was named counts as what named it; the current one comes before the
// config file.
func (a *app) target() (target, error) {
	s := a.settings
	nearest, second := target{from: fromDefault}, ""
	what := ""
	for _, said := range []struct{ setting, value string }{{"server", s.Server()}, {"store", s.Store()}, {"context", s.Context()}} {
		from := s.originOf(said.setting)
		switch {
		case said.value == "" || distance[from] > distance[nearest.from]:
			continue
		case what != "" && from == nearest.from:
			second = said.setting
			continue
		}
		what, second, nearest = said.setting, "", target{from: from}
		switch said.setting {
		case "server":
			nearest.server = said.value
		case "store":
			nearest.store = said.value
		}
	}
	switch {
	case second != "":
		return target{}, exclude(what, second, nearest.from)
	case what == "context":
		return a.targetOf(s.Context(), nearest.from, target{})
	case distance[nearest.from] < distance[fromContext]:
		return nearest, nil
	}
	return a.targetOf("", "", nearest)
}

func exclude(one, other, from string) error {
	name := func(setting string) string {
		if from == fromEnvironment {
			return envName(setting)
		}
		return "--" + setting
	}
	return token.Errorf(token.ErrUsage, "%s and %s exclude each other", name(one), name(other)).
		WithHint("leave one of them out; tokenctl config show --origin tells of the rest")
}

// targetOf is what a context has: the one of that name or, without one, the
// current one. With none current it is what there is otherwise.
func (a *app) targetOf(name, named string, otherwise target) (target, error) {
	w, err := a.wallet()
	if err != nil && name == "" {
		return otherwise, nil // nothing can be kept, so nothing is
	}
	if err != nil {
		return target{}, err
	}
	if name == "" {
		if _, name, err = w.Contexts(); err != nil {
			return target{}, err
		}
		if named = fromContext; name == "" {
			return otherwise, nil
		}
	}
	c, err := w.Context(name)
	return target{server: c.Server, store: c.Store, from: named, context: &c}, err
}

// localStore is where the tokens are, for commands that need the file itself,
// and what to call them.
func (a *app) localStore(what string) (path string, err error) {
	t, err := a.target()
	if err != nil {
		return "", err
	}
	if t.server != "" {
		return "", token.Errorf(token.ErrUsage, "%s works on a file, but the tokens are at %s (%s)", what, t.server, t.from).
			WithHint("name the file where it is: --store bolt:///path/tokens.db")
	}
	a.settings.inForce = t.store
	return storePath(t.store)
}

// wallet is what this machine keeps for its user.
func (a *app) wallet() (*wallet.Wallet, error) {
	folder := configFolder()
	if !filepath.IsAbs(folder) {
		return nil, token.Errorf(token.ErrUsage, "there is no folder for contexts: %q is not an absolute path", folder).WithHint("set XDG_CONFIG_HOME or HOME to one")
	}
	if a.kept == nil {
		a.kept = wallet.New(wallet.Options{Folder: folder, Note: func(text string) { a.say("%s", text) }})
	}
	return a.kept, nil
}

// openServer makes a client of a server. It does not connect yet.
func (a *app) openServer(t target) (authority.Service, func() error, error) {
	return a.openServerWith(t, func(ctx context.Context) (secret.Secret, error) { return a.credentialFor(ctx, t) })
}

// openServerWith is openServer for a caller with a credential of their own.
func (a *app) openServerWith(t target, credential func(context.Context) (secret.Secret, error)) (authority.Service, func() error, error) {
	trust, err := a.trust(t)
	if err != nil {
		return nil, nil, err
	}
	c, err := httpapi.NewClient(httpapi.ClientOptions{
		URL: t.server, Plain: a.settings.PlainHTTP() || t.context != nil && t.context.PlainHTTP, TLS: trust,
		Timeout: a.settings.RequestTimeout(), UserAgent: "tokenctl/" + version().Version,
		Credential: credential,
	})
	if err != nil {
		return nil, nil, err
	}
	return c, c.Close, nil
}

// trust is whose certificates a server may have.
func (a *app) trust(t target) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.settings.SkipTLSVerify() {
		// Neither --quiet nor a redirected answer hides this.
		a.complain("WARNING: the certificate of %s is not verified: whoever sits in between can read and change everything, your credential too", t.server)
		c.InsecureSkipVerify = true
		return c, nil
	}
	path, _ := t.shown("ca_file", a.settings.CAFile(), a.settings.originOf("ca_file"))
	if path == "" {
		return c, nil
	}
	roots, err := readRoots(path)
	c.RootCAs = roots
	return c, err
}

// readRoots reads certificates that a server's must come from.
func readRoots(path string) (*x509.CertPool, error) {
	text, err := readRegular(path)
	if err != nil {
		return nil, token.Errorf(token.ErrUsage, "the CA file cannot be read: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, token.Errorf(token.ErrUsage, "the CA file %s holds no certificate in PEM", path)
	}
	return roots, nil
}

// credentialFor is what the caller shows to a server: what the environment has,
// else what was stored for the context. Zero: nothing.
func (a *app) credentialFor(ctx context.Context, t target) (secret.Secret, error) {
	if !a.token.IsZero() {
		return a.token, checkCredential(tokenVariable, a.token)
	}
	if t.context == nil || t.context.Login == "" {
		return secret.Secret{}, nil
	}
	w, err := a.wallet()
	if err != nil {
		return secret.Secret{}, err
	}
	return w.Credential(ctx, *t.context)
}

// credentialForm is code:passcode, a passcode alone, or a JWT.
var credentialForm = regexp.MustCompile(`^(?:[0-9a-z]{16}:)?tkp_[0-9A-Za-z]+$|^[\w-]+\.[\w-]+\.[\w-]*$`)

// checkCredential refuses what no server takes from a caller, before it is sent
// anywhere.
func checkCredential(where string, s secret.Secret) error {
	text := s.Reveal()
	if credentialForm.MatchString(text) {
		return nil
	}
	err := token.Errorf(token.ErrMalformed, "%s is no credential for a server", where)
	if strings.HasPrefix(text, "tkr_") {
		return err.WithHint("it is a refresh token: tokenctl exchange makes an access token of it, whose connection must be %s", authority.SelfConnection)
	}
	if strings.HasPrefix(text, "tkc_") {
		return err.WithHint("it is the secret of an OAuth client, which goes to the token endpoint with its client_id")
	}
	return err.WithHint("it is code:passcode, as tokenctl generate prints it, or an access token")
}
