"""What the array reads beside weights: operands of tokens, their exponents, and the weights of softmax."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

OPERANDS = """
// A bank for each row of the array. A word is COLUMNS operands of one token; all banks are read at one address.
module operands #(parameter ROWS = @ROWS, COLUMNS = @COLUMNS, ADDRESS = @OPERANDS) (
    input  wire                      clk,
    input  wire [ROWS-1:0]           write,
    input  wire [ADDRESS-1:0]        write_address,
    input  wire [COLUMNS*8-1:0]      write_data,
    input  wire                      read,
    input  wire [ADDRESS-1:0]        read_address,
    output wire [ROWS*COLUMNS*8-1:0] read_data
);
    genvar r;
    generate
        for (r = 0; r < ROWS; r = r + 1) begin : bank
            memory #(.WIDTH(COLUMNS*8), .ADDRESS(ADDRESS)) memory (
                .clk(clk), .write(write[r]), .write_address(write_address), .write_data(write_data),
                .read(read), .read_address(read_address), .read_data(read_data[r*COLUMNS*8 +: COLUMNS*8])
            );
        end
    endgenerate
endmodule
"""

EXPONENTS = """
// Exponents of operands, ROWS of them at an address.
module exponents #(parameter ROWS = @ROWS) (
    input  wire              clk,
    input  wire [ROWS-1:0]   write,
    input  wire [7:0]        write_address,
    input  wire [4:0]        write_data,
    input  wire [7:0]        read_address,
    output wire [ROWS*5-1:0] read_data
);
    genvar r;
    generate
        for (r = 0; r < ROWS; r = r + 1) begin : row
            reg [4:0] values [0:255];
            always @(posedge clk) if (write[r]) values[write_address] <= write_data;
            assign read_data[r*5 +: 5] = values[read_address];
        end
    endgenerate
endmodule
"""


def operands(shape: Shape) -> str:
    """The module `operands`."""
    return fill(OPERANDS, shape)


def exponents(shape: Shape) -> str:
    """The module `exponents`."""
    return fill(EXPONENTS, shape)
