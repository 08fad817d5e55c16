package terminal

import "os"

func openTTY() (*TTY, error) {
	// Opened for both, as changing the mode of a console needs both.
	in, err := os.OpenFile("CONIN$", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	out, err := os.OpenFile("CONOUT$", os.O_RDWR, 0)
	if err != nil {
		in.Close()
		return nil, err
	}
	return &TTY{in: in, out: out}, nil
}
