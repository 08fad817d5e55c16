package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/metrics"
	"github.com/tokenctl/tokenctl/pkg/orphans"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newServeCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Answer over HTTP",
		Long: `Serve the local tokens over HTTP: verify credentials for proxies and
applications, exchange refresh tokens, and manage tokens. Commands on this
machine go on working: while serve has the file they ask it, through a socket
beside the file.

What a proxy demands of a credential stands in the path that it asks for,
/verify/connection/C/role/R; if it appends the client's own path to that, it must
end with /-.

Without TLS it listens on loopback only. Every flag can stand in the section
serve: of the config file, with underscores. SIGHUP reads the TLS files again;
SIGTERM ends the process once the requests under way are answered. Under systemd
it says when it is ready, and takes over sockets (metrics: the socket of that
name). Logs are JSON on standard error, one object a line.`,
		Example: `  tokenctl serve
  tokenctl serve --listen :8443 --tls-cert tls.crt --tls-key tls.key --metrics-listen 127.0.0.1:8471
  tokenctl serve --trusted-proxy 10.0.0.0/8 --issuer https://tokens.example.org`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runServe(c.Context(), a) },
	}
	a.settings.bindServe(c.Flags())
	return c
}

// serving is a tokenctl serve from its start to its end.
type serving struct {
	settings *settings
	log      *slog.Logger
	metrics  *metrics.Server
	local    *authority.Local
	rules    *watched
	orphans  func(authority.Caller) orphans.Service // nil: there is no directory
	folder   string                                 // of the store
	proxies  []netip.Prefix
	tls      *certificate // nil: plain HTTP
	mainAt   *net.TCPAddr // nil: systemd has opened the listeners
	servers  []*listening
	door     *door      // nil: this system has none
	failed   chan error // of what must not end by itself
}

func runServe(ctx context.Context, a *app) error {
	// For everybody else it is the end, and a moment without either would be too.
	signal.Ignore(syscall.SIGHUP)
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	path, err := a.localStore("serve")
	if err != nil {
		return err
	}
	s, inherited, err := prepareServing(a)
	if err != nil {
		return err
	}
	dirs, err := a.directories()
	if err != nil {
		return err
	}
	held, local, err := holdFile(a, path, func(err error) { s.log.Warn("a side effect failed", "error", err.Error()) })
	if err != nil {
		return err
	}
	s.local, s.folder = local, filepath.Dir(path)
	if len(dirs) > 0 {
		s.orphans = func(c authority.Caller) orphans.Service {
			return orphans.New(orphans.Options{Store: held, Rules: local, Caller: c, Directories: dirs})
		}
	}
	if s.rules, err = watch(local, path); err != nil {
		return errors.Join(err, held.Close())
	}
	err = s.run(ctx, path, inherited, reload)
	return errors.Join(err, held.Close())
}

// prepareServing finds all that is wrong with the settings before anything is
// touched.
func prepareServing(a *app) (s *serving, inherited map[string][]net.Listener, err error) {
	s = &serving{settings: a.settings, metrics: metrics.New(version().Version), failed: make(chan error, 8)}
	var level slog.Level
	if err := level.UnmarshalText([]byte(a.settings.ServeText("log_level"))); err != nil {
		return nil, nil, token.Errorf(token.ErrUsage, "log level %q is none of debug, info, warn, error", a.settings.ServeText("log_level"))
	}
	s.log = slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	for _, text := range a.settings.ServeList("trusted_proxies") {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, nil, err
		}
		s.proxies = append(s.proxies, network)
	}
	if s.tls, err = newCertificate(a.settings.ServeText("tls_cert"), a.settings.ServeText("tls_key")); err != nil {
		return nil, nil, err
	}
	if inherited, err = inheritedListeners(); err != nil {
		return nil, nil, err
	}
	if len(inherited[mainListener]) == 0 {
		if s.mainAt, err = lookUp("listen", a.settings.ServeText("listen")); err != nil {
			return nil, nil, err
		}
	}
	return s, inherited, s.checkPlain(inherited[mainListener])
}

// parseNetwork reads a network, or a single address.
func parseNetwork(text string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), nil
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, token.Errorf(token.ErrUsage, "trusted proxy %q is not a network", text).WithHint("for example 10.0.0.0/8")
	}
	return netip.PrefixFrom(ip, ip.BitLen()), nil
}

// run serves until ctx ends or something fails, with the store's lock in hand.
func (s *serving) run(ctx context.Context, store string, inherited map[string][]net.Listener, reload <-chan os.Signal) (err error) {
	// What is wrong with the key file is told now, not to the first who asks.
	if err := s.local.Ready(ctx); err != nil {
		return err
	}
	if err := s.setIssuer(ctx); err != nil {
		return err
	}
	background, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	defer done.Wait()
	defer stop()
	defer func() { s.drain() }()
	if err := s.listen(store, inherited); err != nil {
		return err
	}
	done.Go(func() {
		err := s.local.Run(background)
		switch {
		case err != nil && background.Err() == nil:
			s.failed <- err
		case err != nil:
			s.log.Error("what was noted last could not be written", "error", err.Error())
		}
	})
	for _, l := range s.servers {
		go func() { s.failed <- l.serve() }()
	}
	s.notify(daemon.SdNotifyReady)
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.failed:
			s.log.Error("stopping", "error", err.Error())
			return err
		case <-reload:
			s.reload()
		}
	}
}

// setIssuer makes the issuer of the settings that of the policy.
func (s *serving) setIssuer(ctx context.Context) error {
	issuer := s.settings.ServeText("issuer")
	if issuer == "" {
		return nil
	}
	caller, err := fileOwner(systemUser())
	if err != nil {
		return err
	}
	service := s.local.As(caller)
	policy, err := service.Policy(ctx)
	if err != nil || policy.Issuer == issuer {
		return err
	}
	_, err = service.SetPolicy(ctx, map[string]string{"issuer": issuer})
	return err
}

// reload reads the TLS files again. Bad ones change nothing.
func (s *serving) reload() {
	s.notify(daemon.SdNotifyReloading + "\n" + daemon.SdNotifyMonotonicUsec())
	defer s.notify(daemon.SdNotifyReady)
	if s.tls == nil {
		s.log.Info("nothing to reload: there are no TLS files")
		return
	}
	if err := s.tls.load(); err != nil {
		s.log.Error("the TLS files cannot be used, the old ones stay in use", "error", err.Error())
		return
	}
	s.certified("TLS files reloaded")
}

func (s *serving) certified(message string) {
	expires := s.tls.current.Load().Leaf.NotAfter
	s.metrics.CertificateExpires(expires)
	s.log.Info(message, "certificate", s.tls.certFile, "expires", expires)
	if time.Now().After(expires) {
		s.log.Warn("the certificate has expired", "certificate", s.tls.certFile)
	}
}

// lastCalls is how long connections are taken after the local socket has lost
// its name: whoever had dialled by then is answered.
const lastCalls = 50 * time.Millisecond

// drain ends everything that listens, once what is under way is answered.
func (s *serving) drain() {
	if len(s.servers) == 0 {
		return
	}
	s.notify(daemon.SdNotifyStopping)
	s.log.Info("draining")
	if s.door != nil {
		s.door.remove()
		time.Sleep(lastCalls)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.settings.ServeDuration("drain_timeout"))
	defer cancel()
	var all sync.WaitGroup
	for _, l := range s.servers {
		all.Go(func() {
			if err := l.Shutdown(ctx); err != nil {
				s.log.Warn("connections were cut off", "listener", l.name, "error", err.Error())
				l.Close()
			}
		})
	}
	all.Wait()
	s.log.Info("stopped")
}

// notify tells systemd, if that has started us.
func (s *serving) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd cannot be told", "error", err.Error())
	}
}

func (s *serving) handlerOptions() httpapi.Options {
	return httpapi.Options{
		Rules: s.rules, TrustedProxies: s.proxies, Log: s.log, Observer: s.metrics, Scratch: s.folder, Orphans: s.orphans,
		Limits: httpapi.Limits{
			Body:       int64(s.settings.ServeInt("max_body")),
			FormFields: s.settings.ServeInt("max_form_fields"),
			JSONDepth:  s.settings.ServeInt("max_json_depth"),
			Bearer:     s.settings.ServeInt("max_bearer"),
		},
	}
}

// watched are the rules over a file that somebody may remove or replace while it
// is in use: what is written then is lost at the end.
type watched struct {
	*authority.Local
	path  string
	store os.FileInfo
}

func watch(l *authority.Local, path string) (*watched, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "the store cannot be reached: %w", err)
	}
	return &watched{l, path, info}, nil
}

// Ready implements httpapi.Rules.
func (w *watched) Ready(ctx context.Context) error {
	now, err := os.Stat(w.path)
	if err != nil || !os.SameFile(now, w.store) {
		return token.Errorf(token.ErrCannotTell, "the store %s was removed or replaced while it is in use", w.path).WithHint("stop the server, put the file back, and start it again")
	}
	if _, err := os.Stat(keyFilePath(w.path)); err != nil {
		return token.Errorf(token.ErrCannotTell, "the key file is gone: %w", err).WithHint("put it back before the server stops: without it no token can be verified")
	}
	return w.Local.Ready(ctx)
}

var _ httpapi.Observer = (*metrics.Server)(nil)

// tlsConfig is that of the main listener.
func (s *serving) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.tls.current.Load(), nil },
	}
}
