package process

import (
	"bytes"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// listenNotices opens the socket where a backend says that it is ready, as
// sd_notify(3) does.
func listenNotices(path string, user *User) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("the socket for notices: %w", err)
	}
	socket := os.NewFile(uintptr(fd), path)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		socket.Close()
		return nil, fmt.Errorf("the socket for notices: %w", err)
	}
	if user != nil {
		if err := os.Chown(path, int(user.UID), int(user.GID)); err != nil {
			socket.Close()
			return nil, fmt.Errorf("the socket for notices: %w", err)
		}
	}
	return socket, nil
}

// listen reads notices until the socket is closed. Only the first that says so
// counts.
func (c *child) listen(ready func()) {
	notice := make([]byte, 4096)
	for said := false; ; {
		n, err := c.notice.Read(notice)
		if err != nil {
			return
		}
		for line := range bytes.Lines(notice[:n]) {
			if !said && string(bytes.TrimSpace(line)) == "READY=1" {
				said = true
				ready()
			}
		}
	}
}
