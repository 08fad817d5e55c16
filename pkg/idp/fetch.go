package idp

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// maxAnswer is the longest answer of a provider that is read, in bytes.
const maxAnswer = 1 << 20

// fetcher speaks HTTP with providers, within limits: a time, a size, no
// redirects, nothing in clear text but to this machine.
type fetcher struct{ client *http.Client }

func newFetcher(o Options) *fetcher {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}
	t.MaxResponseHeaderBytes = 64 << 10
	t.MaxIdleConns, t.MaxIdleConnsPerHost = 20, 2
	return &fetcher{&http.Client{
		Transport: bounded{t},
		Timeout:   cmp.Or(o.Timeout, 5*time.Second),
		// Where the keys are is configured, or the provider's own document says
		// so; who can send us elsewhere is neither.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// get reads what a URL has. Its errors are token.ErrCannotTell.
func (f *fetcher) get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "%w", err)
	}
	request.Header.Set("Accept", "application/json")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "%w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, token.Errorf(token.ErrCannotTell, "Get %q: the answer is %.100s", url, response.Status)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, token.Errorf(token.ErrCannotTell, "Get %q: %w", url, err)
	}
	return body, nil
}

// bounded is a transport that keeps to the limits whoever uses it, x/oauth2
// too.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(request *http.Request) (*http.Response, error) {
	if url := *request.URL; !token.IsFetchable(url.Scheme + "://" + url.Host) {
		return nil, token.Errorf(token.ErrCannotTell, "it is no https URL")
	}
	request = request.Clone(request.Context())
	request.Header.Set("User-Agent", "tokenctl")
	response, err := b.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = http.MaxBytesReader(nil, response.Body, maxAnswer)
	return response, nil
}
