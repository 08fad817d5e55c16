package httpapi

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// ClientOptions say where a server is and who asks it.
type ClientOptions struct {
	// URL is https://host[:port][/prefix], or http for this machine.
	URL string
	// Plain allows http to any machine.
	Plain bool
	// Dial connects to the local socket. The URL may be empty then.
	Dial func(context.Context) (net.Conn, error)
	// Credential is asked for with every request that needs one: code:passcode,
	// a passcode alone, or an access token. Nil: there is none.
	Credential func(context.Context) (secret.Secret, error)
	TLS        *tls.Config // nil: the system's roots, TLS 1.2 at least
	// Timeout is of one request; of one that reads the whole store it is longer,
	// and a backup may go on for as long as it gets ahead. Default 10 s.
	Timeout   time.Duration
	UserAgent string
	// Where is what messages call the server. Default: its URL.
	Where string
}

// Client is the service of a server, as its caller has it. It is safe for
// concurrent use.
type Client struct {
	o         ClientOptions
	base      string // the URL without a slash at its end
	http      *http.Client
	transport *http.Transport
}

var _ authority.Service = (*Client)(nil)

// NewClient is a client of a server. It does not connect yet.
func NewClient(o ClientOptions) (*Client, error) {
	if o.Dial != nil && o.URL == "" {
		o.URL = "http://localhost"
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, token.Errorf(token.ErrUsage, "the server %s is not an http or https URL without user, query and fragment", quotedURL(o.URL)).WithHint("write https://tokens.example.org")
	}
	if u.Scheme == "http" && o.Dial == nil && !o.Plain && !isLoopback(u.Hostname()) {
		return nil, token.Errorf(token.ErrUsage, "http to %s would send secrets in the clear", u.Host).WithHint("use https, or --insecure-plain-http where nobody listens")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.UserAgent == "" {
		o.UserAgent = "tokenctl"
	}
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	c := &Client{o: o, base: strings.TrimSuffix(u.String(), "/")}
	if c.o.Where == "" {
		c.o.Where = c.base
	}
	c.transport = &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: o.TLS, ForceAttemptHTTP2: true, DisableCompression: true,
		MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: o.Timeout,
		DialContext: (&net.Dialer{Timeout: o.Timeout}).DialContext,
	}
	if o.Dial != nil {
		c.transport.Proxy = nil
		c.transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) }
	}
	c.http = &http.Client{
		Transport: c.transport,
		// A credential goes nowhere but where it was meant to go.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// quotedURL shows no more of a URL than may be seen: people paste credentials
// into them.
func quotedURL(text string) string {
	if strings.Contains(text, "@") || secret.Contains(text) {
		return "URL"
	}
	return `"` + text + `"`
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// Close lets go of the connections.
func (c *Client) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// authorize puts the caller's credential into a request.
func (c *Client) authorize(r *http.Request) error {
	if c.o.Credential == nil {
		return nil
	}
	s, err := c.o.Credential(r.Context())
	if err != nil || s.IsZero() {
		return err
	}
	text := s.Reveal()
	pair := strings.Contains(text, ":")
	// A password may hold spaces and letters of any alphabet (RFC 7617 §2.1).
	if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || !pair && (c == ' ' || c > '~') }) {
		return token.Errorf(token.ErrUsage, "the credential has a character that none of ours has").WithHint("look for spaces and line breaks around it")
	}
	if pair {
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(text)))
	} else {
		r.Header.Set("Authorization", "Bearer "+text)
	}
	return nil
}
