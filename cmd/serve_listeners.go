package cmd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/net/netutil"

	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The listeners, by the names that the log, the metrics and systemd's
// FileDescriptorName= have for them.
const (
	mainListener    = "main"
	metricsListener = "metrics"
	localListener   = "local"
)

// listening is one listener with its server.
type listening struct {
	*http.Server
	name     string
	listener net.Listener
}

// serve answers until the server is shut down.
func (l *listening) serve() error {
	err := l.Serve(l.listener)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return token.Errorf(token.ErrCannotTell, "the %s listener has failed: %w", l.name, err)
}

// listen opens all listeners, the local socket last: whoever finds it is
// answered.
func (s *serving) listen(store string, inherited map[string][]net.Listener) error {
	handler := limitHeader(httpapi.NewHandler(s.handlerOptions()), s.settings.ServeInt("max_header_bytes"))
	mains := inherited[mainListener]
	if s.mainAt != nil {
		l, err := net.ListenTCP("tcp", s.mainAt)
		if err != nil {
			return token.Errorf(token.ErrCannotTell, "cannot listen: %w", err).WithHint("--listen names another address")
		}
		mains = []net.Listener{l}
	}
	for _, l := range mains {
		l = netutil.LimitListener(l, s.settings.ServeInt("max_connections"))
		if s.tls != nil {
			l = shakeHands(l, s.tlsConfig(), s.settings.ServeDuration("tls_handshake_timeout"), s.log)
		}
		s.add(mainListener, l, handler)
	}
	if s.tls != nil {
		s.certified("TLS files loaded")
	}
	if err := s.listenMetrics(inherited[metricsListener]); err != nil {
		return err
	}

	d, err := openDoor(store, s.log)
	switch {
	case err != nil:
		return err
	case d == nil:
		s.log.Info("no local socket: on this system local commands need --server")
	default:
		s.door = d
		s.add(localListener, d, handler)
	}
	return nil
}

func (s *serving) listenMetrics(inherited []net.Listener) error {
	if at := s.settings.ServeText("metrics_listen"); at != "" && len(inherited) == 0 {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return token.Errorf(token.ErrCannotTell, "cannot listen for metrics: %w", err).WithHint("--metrics-listen names another address")
		}
		inherited = []net.Listener{l}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.Handle("/", httpapi.NewProbes(s.rules.Ready))
	for _, l := range inherited {
		s.add(metricsListener, netutil.LimitListener(l, s.settings.ServeInt("max_connections")), mux)
	}
	return nil
}

// add makes the server of a listener, with all limits of time and size that
// are net/http's to keep.
func (s *serving) add(name string, l net.Listener, handler http.Handler) {
	server := &http.Server{
		Handler:                      handler,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            s.settings.ServeDuration("read_header_timeout"),
		ReadTimeout:                  s.settings.ServeDuration("read_timeout"),
		WriteTimeout:                 s.settings.ServeDuration("write_timeout"),
		IdleTimeout:                  s.settings.ServeDuration("idle_timeout"),
		MaxHeaderBytes:               s.settings.ServeInt("max_header_bytes"),
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: s.settings.ServeInt("max_streams")},
		ErrorLog:                     slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.metrics.Connection(name, true)
			case http.StateClosed, http.StateHijacked:
				s.metrics.Connection(name, false)
			}
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if v, ok := c.(*visitor); ok {
				return httpapi.WithPeer(ctx, v.caller)
			}
			return ctx
		},
	}
	if name == mainListener && s.tls != nil {
		server.TLSConfig = s.tlsConfig() // where net/http looks whether to speak HTTP/2
	}
	s.servers = append(s.servers, &listening{server, name, l})
	s.log.Info("listening", "listener", name, "address", l.Addr().String())
}

// limitHeader keeps the limit of a request's header to the byte: net/http is
// generous by 4 KiB, and counts a header of HTTP/2 in its own way.
func limitHeader(next http.Handler, most int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size := len(r.Method) + len(r.RequestURI) + len(r.Host)
		for name, values := range r.Header {
			for _, v := range values {
				size += len(name) + len(v) + len(": \r\n")
			}
		}
		if size > most {
			http.Error(w, http.StatusText(http.StatusRequestHeaderFieldsTooLarge), http.StatusRequestHeaderFieldsTooLarge)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// inheritedListeners are what systemd has opened for us: metrics by its name,
// all others are main.
func inheritedListeners() (map[string][]net.Listener, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, token.Errorf(token.ErrUsage, "the sockets of systemd cannot be used: %w", err)
	}
	found := map[string][]net.Listener{}
	for name, list := range named {
		if name != metricsListener {
			name = mainListener
		}
		for _, l := range list {
			if l == nil {
				return nil, token.Errorf(token.ErrUsage, "a socket of systemd is not one to listen on")
			}
			found[name] = append(found[name], l)
		}
	}
	return found, nil
}

// lookUp reads host:port. A name is looked up, so that what is refused is an
// address.
func lookUp(setting, text string) (*net.TCPAddr, error) {
	at, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		return nil, token.Errorf(token.ErrUsage, "%s %q is not host:port: %w", setting, text, err)
	}
	return at, nil
}

// checkPlain refuses to send credentials in the clear through a network.
func (s *serving) checkPlain(inherited []net.Listener) error {
	if s.tls != nil {
		return nil
	}
	addresses := []net.Addr{}
	if s.mainAt != nil {
		addresses = append(addresses, s.mainAt)
	}
	for _, l := range inherited {
		addresses = append(addresses, l.Addr())
	}
	for _, at := range addresses {
		tcp, ok := at.(*net.TCPAddr)
		if !ok || tcp.IP.IsLoopback() {
			continue
		}
		if !s.settings.ServeBool("insecure_plain_http") {
			return token.Errorf(token.ErrUsage, "without TLS everybody on the way to %s can read the credentials", at).
				WithHint("--tls-cert and --tls-key; or listen on 127.0.0.1 behind a proxy; or say --insecure-plain-http")
		}
		s.log.Warn("credentials are sent without TLS: everybody on the way can read them", "address", at.String())
	}
	return nil
}

// certificate is that of the main listener, as it was last read.
type certificate struct {
	certFile, keyFile string
	current           atomic.Pointer[tls.Certificate]
}

// newCertificate reads the TLS files; without any it is nil.
func newCertificate(certFile, keyFile string) (*certificate, error) {
	switch {
	case certFile == "" && keyFile == "":
		return nil, nil
	case certFile == "" || keyFile == "":
		return nil, token.Errorf(token.ErrUsage, "TLS needs both a certificate and its key").WithHint("--tls-cert and --tls-key")
	}
	c := &certificate{certFile: certFile, keyFile: keyFile}
	if err := c.load(); err != nil {
		return nil, token.Errorf(token.ErrUsage, "the TLS files cannot be used: %w", err)
	}
	return c, nil
}

func (c *certificate) load() error {
	chain, err := readRegular(c.certFile)
	if err != nil {
		return err
	}
	key, err := readRegular(c.keyFile)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return err
	}
	c.current.Store(&pair)
	return nil
}

// handshakes hands out connections whose TLS handshake is done. net/http would
// do it itself, in a time that is not its own.
type handshakes struct {
	net.Listener
	config  *tls.Config
	timeout time.Duration
	log     *slog.Logger
	ready   chan accepted
	ended   context.Context
	end     context.CancelFunc
}

type accepted struct {
	conn net.Conn
	err  error
}

func shakeHands(l net.Listener, config *tls.Config, timeout time.Duration, log *slog.Logger) net.Listener {
	h := &handshakes{Listener: l, config: config, timeout: timeout, log: log, ready: make(chan accepted)}
	h.ended, h.end = context.WithCancel(context.Background())
	go h.run()
	return h
}

func (h *handshakes) run() {
	for h.ended.Err() == nil {
		c, err := h.Listener.Accept()
		if err != nil {
			h.offer(nil, err) // net/http waits a little after one that may pass
			continue
		}
		go func() {
			t := tls.Server(c, h.config)
			ctx, cancel := context.WithTimeout(h.ended, h.timeout)
			defer cancel()
			if err := t.HandshakeContext(ctx); err != nil {
				h.log.Debug("no TLS handshake", "from", c.RemoteAddr().String(), "error", err.Error())
				c.Close()
				return
			}
			h.offer(t, nil)
		}()
	}
}

func (h *handshakes) offer(c net.Conn, err error) {
	select {
	case h.ready <- accepted{c, err}:
	case <-h.ended.Done():
		if c != nil {
			c.Close()
		}
	}
}

// Accept implements net.Listener.
func (h *handshakes) Accept() (net.Conn, error) {
	select {
	case a := <-h.ready:
		return a.conn, a.err
	case <-h.ended.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handshakes) Close() error {
	h.end()
	return h.Listener.Close()
}
