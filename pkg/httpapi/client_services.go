package httpapi

import (
	"context"
	"iter"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// AddService implements [authority.Services].
func (c *Client) AddService(ctx context.Context, svc token.ServiceConfig) (token.ServiceConfig, error) {
	return services.askAdd(ctx, c, svc)
}

// Service implements [authority.Services].
func (c *Client) Service(ctx context.Context, name string) (token.ServiceConfig, error) {
	return services.askGet(ctx, c, name)
}

// ListServices implements [authority.Services].
func (c *Client) ListServices(ctx context.Context) iter.Seq2[token.ServiceConfig, error] {
	return services.askList(ctx, c, nil)
}

// SetService implements [authority.Services].
func (c *Client) SetService(ctx context.Context, svc token.ServiceConfig) (token.ServiceConfig, error) {
	return services.askSet(ctx, c, svc)
}

// DeleteService implements [authority.Services].
func (c *Client) DeleteService(ctx context.Context, name string) error {
	return services.askDelete(ctx, c, name)
}

// ListDeliveries implements [authority.Provisioning].
func (c *Client) ListDeliveries(ctx context.Context, f authority.DeliveryFilter) iter.Seq2[authority.Delivery, error] {
	q := writeQuery(deliveryQuery{DeliveryFilter: f}, deliveryFields)
	return pages(ctx, c, "/provisioning", "deliveries", q, func(w *wireDelivery) (authority.Delivery, error) {
		if !w.whole() {
			return authority.Delivery{}, errNotWhole
		}
		return w.delivery(), nil
	})
}

// RetryDeliveries implements [authority.Provisioning].
func (c *Client) RetryDeliveries(ctx context.Context, f authority.DeliveryFilter) (int, error) {
	body := map[string]string{}
	for name, values := range writeQuery(deliveryQuery{DeliveryFilter: f}, retryFields) {
		body[name] = values[0]
	}
	var w wireRetried
	err := c.do(ctx, call{
		method: "POST", path: apiPath + "/provisioning:retry", body: body, changes: true, long: true,
		into: &w, whole: func() bool { return w.Retried != nil },
	})
	if err != nil {
		return 0, err
	}
	return *w.Retried, nil
}

// Deliver implements [authority.Provisioning]. What is due is delivered whether
// or not the answer comes: it changes nothing that would not have changed.
func (c *Client) Deliver(ctx context.Context, id token.ID) ([]authority.Delivery, error) {
	var w wirePending
	err := c.do(ctx, call{
		method: "POST", path: tokenPath(id, "/deliver"), long: true, into: &w, whole: func() bool { return w.Pending != nil },
	})
	if err != nil {
		return nil, err
	}
	pending := make([]authority.Delivery, len(w.Pending))
	for i := range pending {
		if !w.Pending[i].whole() {
			return nil, c.told(call{}, c.lost("the answer of %s cannot be understood: %w", c.o.Where, errNotWhole))
		}
		pending[i] = w.Pending[i].delivery()
	}
	return pending, nil
}
