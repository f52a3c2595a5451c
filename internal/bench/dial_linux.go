package bench

import "syscall"

// bindAddressNoPort is IP_BIND_ADDRESS_NO_PORT (ip(7)): the port is chosen with
// the connection, so that one address has its 28,000 for every server anew.
const bindAddressNoPort = 24

func chooseLate(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, bindAddressNoPort, 1) })
	if err == nil {
		err = failed
	}
	return err
}
