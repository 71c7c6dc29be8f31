// Loaded before a server that takes a port and would listen on every interface: it listens on loopback instead.
//
//   NODE_OPTIONS=--require=…/loopback.cjs
const net = require('node:net');

const { listen } = net.Server.prototype;
net.Server.prototype.listen = function onLoopback(port, ...rest) {
  return listen.call(this, port, '127.0.0.1', ...rest.filter((each) => typeof each === 'function'));
};
